"""The one boundary around other people's code: what it raises, and a hang, becomes one error that names it."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from time import monotonic
from traceback import walk_tb
from types import FrameType, TracebackType
from typing import Any, Final, Self, TypeVar

from reasonrl.errors import PluginError, ReasonRLError
from reasonrl.plugins.failures import explain, place
from reasonrl.plugins.leftovers import watched

TIMEOUT_S: Final = 1800.0
"""Longest time in seconds of one call, unless ``plugins.timeout_s`` says otherwise."""

Result = TypeVar("Result")


def call_plugin(
    kind: str,
    name: str,
    function: Callable[..., Result],
    /,
    *args: Any,
    owner: str = "",
    timeout_s: float | None = TIMEOUT_S,
    remedy: str = "",
    **kwargs: Any,
) -> Result:
    """Call somebody else's function; see :func:`guarded`. Any: the arguments are the function's own."""
    with guarded(kind, name, function, owner=owner, timeout_s=timeout_s, remedy=remedy):
        return function(*args, **kwargs)


@contextmanager
def guarded(
    kind: str,
    name: str,
    function: Callable[..., Any] | None = None,
    *,
    owner: str = "",
    timeout_s: float | None = TIMEOUT_S,
    remedy: str = "",
    longer: str = "Where it needs longer, raise plugins.timeout_s.",
) -> Iterator[None]:
    """Turn whatever the body raises, ``sys.exit`` included, into one error that names plugin, place and remedy.

    Errors of reasonrl's own kinds pass unchanged: a task that raises ``DataError`` has said what is wrong.
    ``KeyboardInterrupt`` passes too, because it is a person's Ctrl-C.

    Args:
        kind: what the plugin is, in the singular.
        name: the name it was asked for under.
        function: whose file the error should point into. Any: anybody's code.
        owner: the package that it comes from.
        timeout_s: longest time of the body in seconds; None is no limit. Only the main thread has one, and code that
            never returns to Python, such as a deadlock within a C library, cannot be stopped.
        remedy: a sentence about what to do.
        longer: a sentence about the limit, where the body ran out of time.

    Raises:
        PluginError: the body raised an error, left the process, or ran out of time.
    """
    what = label(kind, name, owner)
    deadline = _Deadline(timeout_s)
    try:
        with deadline:
            yield
    except ReasonRLError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(" ".join([f"{what}: {explain(error, function)}.", remedy]).strip()) from error
    except _OutOfTimeError as error:
        if error.deadline is not deadline:  # that of a call around this one
            raise
        where = place(walk_tb(error.__traceback__), function)
        said = f"{what}: did not return within {timeout_s:g} s{f' ({where})' if where else ''}."
        raise PluginError(" ".join(filter(None, [said, remedy, longer]))) from None


@contextmanager
def guarded_import(
    kind: str, name: str, function: Callable[..., Any] | None = None, *, timeout_s: float | None
) -> Iterator[None]:
    """Guard an import of somebody else's code, or the call of a hook; see :func:`guarded` for the arguments.

    It may raise anything, ``KeyboardInterrupt`` included, which passes only where Ctrl-C was pressed. What it prints
    goes to standard error, because standard output is the command's. Threads that it starts are noted, so that they
    do not keep the command from ending. Any: anybody's code.

    Raises:
        PluginError: the body raised anything, or ran out of time.
    """
    longer = "Import what takes long inside its functions."
    with (
        guarded(kind, name, function, timeout_s=timeout_s, longer=longer),
        watched(name),
        redirect_stdout(sys.stderr),
        _CtrlC() as ctrl_c,
    ):
        try:
            yield
        except (Exception, SystemExit, _OutOfTimeError):
            raise
        except BaseException as error:
            if ctrl_c.was_pressed:
                raise
            raise PluginError(f"{label(kind, name)}: {explain(error, function)}.") from error


def label(kind: str, name: str, owner: str = "") -> str:
    """Name a plugin in a message: ``task 'sums' (my-tasks)``."""
    return f"{kind} {name!r} ({owner})" if owner and owner != name else f"{kind} {name!r}"


class _OutOfTimeError(BaseException):
    """Raised inside code that ran out of time. No ``Exception``, so that the code's own handlers let it through."""

    def __init__(self, deadline: "_Deadline") -> None:
        super().__init__()
        self.deadline = deadline


class _CtrlC:
    """Tells a person's Ctrl-C from a ``KeyboardInterrupt`` that the body raises itself, and keeps its handler."""

    def __init__(self) -> None:
        self.was_pressed = False

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        self._handler = signal.getsignal(signal.SIGINT) if is_main else None
        if callable(self._handler):
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if callable(self._handler):
            signal.signal(signal.SIGINT, self._handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.was_pressed = True
        assert callable(self._handler)
        self._handler(number, frame)


class _Deadline:
    """Interrupts its body after a time, in the main thread, by the timer signal.

    An earlier timer that runs already, such as that of a call around this one, stays in charge; a later one goes on
    afterwards with what is left of it.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._is_running = False

    def __enter__(self) -> Self:
        if self._seconds is None or threading.current_thread() is not threading.main_thread():
            return self  # Python runs signal handlers in the main thread only
        self._outer_left, self._outer_interval = signal.getitimer(signal.ITIMER_REAL)
        if 0 < self._outer_left <= self._seconds:
            return self
        self._began = monotonic()
        self._outer_handler = signal.signal(signal.SIGALRM, self._interrupt)
        self._is_running = True
        signal.setitimer(signal.ITIMER_REAL, self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_running:
            return
        self._is_running = False  # before anything else: a signal that arrives from here on is ignored
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._outer_handler)
        if self._outer_left:
            left = max(self._outer_left - (monotonic() - self._began), 0.001)
            signal.setitimer(signal.ITIMER_REAL, left, self._outer_interval)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._is_running:
            raise _OutOfTimeError(self)
