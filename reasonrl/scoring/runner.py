"""What calls the functions of plugins: one Protocol for worker processes, an event loop, and this process."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import Any, Literal, Protocol, TypeAlias

from reasonrl.plugins.failures import explain

Functions: TypeAlias = Mapping[str, Callable[..., Any]]
"""Rewards and metrics by the name that calls go by, parameters bound. Any: they are anybody's code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """One call of one reward or metric."""

    function: str
    """Name of the function among the runner's."""
    arguments: Mapping[str, Any]
    """What it is given, by name. Any: texts, problems, rollouts; all of it can be pickled."""
    timeout_s: float
    """Longest time that the call may run, from the moment it starts; waiting for a worker does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult:
    """What became of a call."""

    outcome: Literal["returned", "timeout", "error"]
    value: Any = None
    """What the function returned. Any: it is checked where it is used."""
    why: str = ""
    """What went wrong, in a line."""
    queue_s: float = 0.0
    """Time from submitting the call to its start."""
    run_s: float = 0.0
    """Time that the call ran."""


class FunctionRunner(Protocol):
    """Calls functions; whatever a function does, every call gets its result, in any order."""

    def submit(self, call: FunctionCall) -> "Future[CallResult]":
        """Begin a call, from any thread, and return at once; the future never raises."""
        ...

    def close(self) -> None:
        """Leave nothing running; calls without a result get an error. Closing twice is closing once."""
        ...


class InProcessRunner:
    """Calls functions in this process, one after another: a call cannot be stopped, and nothing has to be pickled.

    Several threads may submit calls; a function never sees two at once.
    """

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self._turn = Lock()

    def submit(self, call: FunctionCall) -> "Future[CallResult]":
        """Make the call before this returns; the future never raises."""
        future: Future[CallResult] = Future()
        with self._turn:
            future.set_result(self._call(call))
        return future

    def _call(self, call: FunctionCall) -> CallResult:
        began = perf_counter()
        try:
            value = self._functions[call.function](**call.arguments)
        except (Exception, SystemExit) as error:  # a reward is anybody's code: whatever it raises is counted and named
            why = explain(error, self._functions[call.function])
            return CallResult(outcome="error", why=why, run_s=perf_counter() - began)
        return CallResult(outcome="returned", value=value, run_s=perf_counter() - began)

    def close(self) -> None:
        """Do nothing: a call has ended when ``submit`` returns."""
