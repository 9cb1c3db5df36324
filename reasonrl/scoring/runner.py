"""What calls a reward: one Protocol for worker processes, an event loop, and this process."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

Functions: TypeAlias = Mapping[str, Callable[..., Any]]
"""Rewards by the name that a run gives them, parameters bound. Any: a reward is anybody's code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of one reward."""

    function: str
    """Name of the reward among the runner's functions."""
    arguments: Mapping[str, Any]
    """What it is given, by name. Any: texts, problems, rollouts; all of it can be pickled."""
    timeout_s: float
    """Longest time that the call may run, from the moment it starts; waiting for a worker does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What became of a call."""

    outcome: Literal["returned", "timeout", "error"]
    value: Any = None
    """What the reward returned. Any: it is checked where it is used."""
    why: str = ""
    """What went wrong, in a line."""
    queue_s: float = 0.0
    """Time from asking to the start of the call."""
    run_s: float = 0.0
    """Time that the call ran."""


class Runner(Protocol):
    """Calls rewards; whatever a reward does, every call gets its reply, in any order."""

    def submit(self, call: Call) -> "Future[Reply]":
        """Begin a call, from any thread, and return at once; the future never raises."""
        ...

    def close(self) -> None:
        """Leave nothing running; calls without a reply get an error. Closing twice is closing once."""
        ...
