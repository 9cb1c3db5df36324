"""How long a batch may be sampled, and how to end it from outside."""

from threading import Event
from time import monotonic

from reasonrl.errors import EngineError


class Deadline:
    """Ends a sampling that takes too long, or that another thread wants ended.

    The sampling thread calls :meth:`start` once and :meth:`check` often; any thread may call :meth:`abort`.
    """

    def __init__(self) -> None:
        """Begin without a limit."""
        self._aborted = Event()
        self._timeout_s: float | None = None
        self._began = monotonic()

    def start(self, timeout_s: float | None) -> None:
        """Count from now, and forget an earlier abort."""
        self._aborted.clear()
        self._timeout_s, self._began = timeout_s, monotonic()

    def abort(self) -> None:
        """Let the next check fail."""
        self._aborted.set()

    def remaining_s(self) -> float | None:
        """Return the seconds left, at least 0; None without a limit."""
        return None if self._timeout_s is None else max(0.0, self._timeout_s - (monotonic() - self._began))

    def check(self) -> None:
        """Do nothing while there is time.

        Raises:
            EngineError: the time is over, or the sampling was aborted.
        """
        if self._aborted.is_set():
            raise EngineError("sampling was aborted.")
        if self.remaining_s() == 0.0:
            raise EngineError(
                f"sampling took longer than {self._timeout_s:g} s and was ended. Raise rollout.timeout_s, or sample "
                "less at once: lower rollout.prompts_per_step or rollout.max_new_tokens."
            )
