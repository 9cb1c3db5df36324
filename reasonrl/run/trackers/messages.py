"""What a run and the process of one of its trackers tell each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from reasonrl.plugins.types import TrackedRow, TrackedRun


@dataclass(frozen=True, slots=True)
class Opening:
    """The first message: which tracker to open, for which run."""

    name: str
    """As the run file names it."""
    params: Mapping[str, Any]
    """Any: the tracker's own."""
    timeout_s: float
    """Longest time of each of its calls."""
    run: TrackedRun
    progress: Path
    """Where it is written down what the tracker has."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Finite numbers of a step."""

    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Table:
    """Rollouts of a step."""

    step: int
    rows: Sequence[TrackedRow]


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm."""

    step: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Closing:
    """The last message."""

    status: str
    cause: str | None


Item: TypeAlias = Metrics | Table | Alarm
"""What a tracker may do without, if need be."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The tracker is open; ``where`` to look at the run."""

    where: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The tracker has failed, and its process ends."""

    cause: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The tracker has everything, and its process ends."""


Reply: TypeAlias = Opened | Failed | Closed
