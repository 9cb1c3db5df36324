"""A run as its directory tells it, for people to look at while it trains or afterwards: nothing is written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from reasonrl.config.kinds import AnyConfig
from reasonrl.evaluation.files import RESULTS, read_summary
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.manifest import Manifest
from reasonrl.run.files.rollouts import RolloutRecord
from reasonrl.run.files.steps import by_step

NOT_METRICS = ("schema_version", "step", "wall", "dropped_non_finite")
"""Fields of a line of ``metrics.jsonl`` that are no metrics."""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric over a run, by step."""

    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Happening:
    """A line of ``events.jsonl``: an alarm, a roll-back, a change of settings, something a person should know."""

    step: int
    kind: str
    message: str
    wall: str
    """When, in UTC."""


@dataclass(frozen=True, slots=True)
class HeldoutResult:
    """One held-out suite, measured with the weights after a step; step 0 is the model before training."""

    step: int
    suite: str
    folder: Path
    summary: Mapping[str, Any]
    """What ``results.json`` holds. Any: JSON, whose keys are those of :mod:`reasonrl.evaluation.summary`."""


class History:
    """Reads a run directory, each part when it is asked for; what was read is kept: one object tells one moment.

    Raises:
        RunError: it is not a run directory, or a file in it is damaged.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory

    @classmethod
    def open(cls, path: Path) -> Self:
        """Look at a run; it may be training meanwhile."""
        return cls(RunDirectory.open(path))

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.directory.manifest.name

    @property
    def config(self) -> AnyConfig:
        """All settings, defaults filled in."""
        return self.directory.config

    @property
    def manifest(self) -> Manifest:
        """Identity, origin and state of the run."""
        return self.directory.manifest

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """Every line of ``metrics.jsonl``. Any: numbers, and the time as text."""
        return self.directory.read_metrics()

    @cached_property
    def metrics(self) -> Mapping[str, Series]:
        """Every metric by name."""
        found: dict[str, dict[int, float]] = {}
        for line in self.lines:
            for name in line.keys() - NOT_METRICS:
                found.setdefault(name, {})[line["step"]] = line[name]
        return {name: Series(tuple(values), tuple(values.values())) for name, values in sorted(found.items())}

    @property
    def steps_done(self) -> int:
        """The last step with metrics."""
        return max((line["step"] for line in self.lines), default=0)

    @cached_property
    def happenings(self) -> tuple[Happening, ...]:
        """What a person should know of the run, in order."""
        return tuple(
            Happening(line["step"], line["kind"], line["message"], line["wall"])
            for line in self.directory.read_events()
        )

    @property
    def alarms(self) -> tuple[Happening, ...]:
        """The alarms among them; a message begins with the kind of the alarm and a colon."""
        return tuple(one for one in self.happenings if one.kind == "alarm")

    @property
    def checkpoints(self) -> Mapping[int, Path]:
        """Checkpoints on disk by step."""
        return self.directory.checkpoints()

    @cached_property
    def evaluations(self) -> tuple[HeldoutResult, ...]:
        """What was measured held out, by step, then by suite."""
        return tuple(
            HeldoutResult(step, folder.parent.name, folder.parent, read_summary(folder.parent))
            for step, path in sorted(by_step(self.path / "evals"))
            for folder in sorted(path.glob(f"*/{RESULTS}"))
        )

    @cached_property
    def rollout_steps(self) -> tuple[int, ...]:
        """Steps whose completions were written."""
        return tuple(sorted(step for step, _ in by_step(self.path / "rollouts")))

    def rollouts(self, *steps: int) -> Iterator[RolloutRecord]:
        """Yield the completions of some steps, of all if none is given, by step.

        Raises:
            RunError: there are none of a step.
        """
        for step in steps or self.rollout_steps:
            yield from self.directory.read_rollouts(step)


def runs_under(folder: Path) -> list[Path]:
    """Return the run directories in a folder, or the folder itself where it is one, by name."""
    if (folder / "manifest.json").is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob("*/manifest.json") if not path.parent.name.startswith("."))
