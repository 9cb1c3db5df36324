"""A run of any kind as starting, resuming and forking see it: checked without its model, loaded with it, attempted."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from reasonrl.run.attempt import Status
from reasonrl.run.events import AlarmRaised, Event
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.rollouts import TokenEndsOf
from reasonrl.run.observers import Observers


class Alarms(Protocol):
    """Watches the metrics of a run; a function of them alone."""

    def __call__(self, event: Event) -> None:
        """Raise the alarms that an event sets off, and do what they ask for."""
        ...

    def replay(self, records: Iterable[Mapping[str, Any]]) -> Self:
        """Take in the lines of a ``metrics.jsonl`` and raise nothing; return the alarms. Any: JSON values."""
        ...


class LoadedRun(Protocol):
    """A run with its model, for one attempt; to be closed."""

    @property
    def num_steps(self) -> int:
        """Steps in all."""
        ...

    @property
    def token_ends(self) -> TokenEndsOf | None:
        """Finds tokens in the texts of completions; None where nothing is sampled."""
        ...

    def compute(self) -> Mapping[str, Any]:
        """Return how the model is computed, which the manifest records. Any: JSON values."""
        ...

    def environment(self) -> Mapping[str, str]:
        """Return what the manifest records of this machine, the ``device`` included."""
        ...

    def attempt(self, directory: RunDirectory, observers: Observers, steps_done: int, position: int) -> Status:
        """Train to the end, or to where the run is stopped.

        Args:
            directory: the run's.
            observers: are told of all that happens.
            steps_done: the step of the checkpoint that it was loaded from; 0 for the start.
            position: where that checkpoint stands in the stream of problems.
        """
        ...

    def close(self) -> None:
        """End what runs beside this process."""
        ...


class PreparedRun(Protocol):
    """A run that is checked as far as that needs no model."""

    def data(self) -> Mapping[str, object]:
        """Return what data.json records: sources and sizes."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """Return everything that decides the run by key: see :mod:`reasonrl.run.recorded`. Any: JSON values."""
        ...

    def files(self) -> Mapping[str, bytes]:
        """Return further files of the run directory, such as data that was made for this run."""
        ...

    def alarms(self, notify: Callable[[AlarmRaised], None], directory: RunDirectory) -> Alarms:
        """Return what watches the metrics; ``notify`` tells all observers of an alarm."""
        ...

    def load(self, checkpoint: Path | None, rate_factor: float, compute: Mapping[str, Any] | None) -> LoadedRun:
        """Load the model, from a checkpoint or from the start.

        Args:
            checkpoint: its folder.
            rate_factor: multiplies the learning rate.
            compute: how the model is computed, as the run's manifest has it; None chooses that. Any: JSON values.
        """
        ...
