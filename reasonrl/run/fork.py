"""A run that begins with the checkpoint of another: its settings, and where it stands in the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from reasonrl.config.kinds import AnyConfig
from reasonrl.config.runfile import override_run
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ConfigError
from reasonrl.run.files.checkpoint import verify
from reasonrl.run.files.directory import RunDirectory
from reasonrl.types import digest

FreshOrContinue: TypeAlias = Literal["fresh", "continue"]
"""What a fork does with data: an order and samples of its own, or the parent's order from where the parent stood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A run that begins with a checkpoint."""

    config: AnyConfig
    parent: RunDirectory
    step: int
    """The checkpoint's."""
    position: int
    """Problems of the stream that are passed over."""
    note: str
    """What becomes of data order and seeds, in words."""

    @property
    def record(self) -> Mapping[str, str | int]:
        """What the manifest says of the origin."""
        passed = {"position": self.position} if self.position else {}
        return {"run": str(self.parent.path), "step": self.step, **passed}


def fork(parent: RunDirectory, step_wanted: str, overrides: Sequence[str], order: FreshOrContinue) -> Fork:
    """Return the run that begins with a checkpoint of another one.

    ``fresh`` draws a seed from the parent's and the step, so that the fork neither sees the parent's first problems
    again nor samples them alike; a seed that is given is used as it is. ``continue`` keeps the parent's seed, whose
    order goes on where the checkpoint stands.

    Args:
        parent: the other run.
        step_wanted: the checkpoint's step as typed by a user, empty for the latest.
        overrides: settings of the new run.
        order: what becomes of the order of the problems.

    Raises:
        ConfigError: the new run has the old one's name, or the order cannot go on.
        RunError: there is no such checkpoint, or it is not complete.
    """
    step, checkpoint = parent.checkpoint_at(step_wanted)
    config = override_run(parent.config, [*overrides, f"model.name={checkpoint}"])
    if config.name == parent.config.name:
        raise ConfigError("a fork needs a name of its own: add name=NEW to the command.")
    where = f"fork of {parent.path}@{step}: "
    has_seed = any(override.partition("=")[0] == "seed" for override in overrides)
    if not isinstance(config, RunConfig):
        note = f"{where}examples in the order of seed {config.seed}, from its beginning; seed=N takes another"
        return Fork(config=config, parent=parent, step=step, position=0, note=note)
    if order == "continue":
        position = _position(config, parent, checkpoint, has_seed)
        note = f"{where}data goes on in the parent's order (seed {config.seed}), after its first {position} problems"
        return Fork(config=config, parent=parent, step=step, position=position, note=note)
    seed = config.seed if has_seed else int(digest(parent.config.seed, "fork", step), 16) >> 33
    config = override_run(config, [f"seed={seed}"])
    note = f"{where}fresh order of data and samples (seed {seed}); for the parent's order: --data-order continue"
    return Fork(config=config, parent=parent, step=step, position=0, note=note)


def _position(config: RunConfig, parent: RunDirectory, checkpoint: Path, has_seed: bool) -> int:
    """Return where a checkpoint stands in the stream of problems.

    Raises:
        ConfigError: the fork has another stream.
    """
    if has_seed:
        raise ConfigError("--data-order continue goes on in the order of the parent's seed: leave seed out.")
    if not isinstance(parent.config, RunConfig) or _stream(config) != _stream(parent.config):
        raise ConfigError("--data-order continue goes on in the parent's data, but the task is another: use fresh.")
    if config.curriculum or parent.config.curriculum:
        raise ConfigError(
            "--data-order continue goes on at a position, but a curriculum has more to go on from: use fresh."
        )
    return verify(checkpoint, parent.kind.command).position


def _stream(config: RunConfig) -> list[tuple[object, ...]]:
    """Return what decides the stream of problems beside the seed."""
    return [(task.ref.name, task.ref.params, task.ref.difficulty, task.label, task.weight) for task in config.tasks]
