"""What a checkpoint holds of a learner beside the model: its counters, its objective's state, and the optimizer's.

The optimizer's state is written by torch.distributed.checkpoint, by all processes together, each its part, under the
names of the parameters. Any number of processes may read it, with either strategy.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from warnings import catch_warnings, filterwarnings

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from reasonrl.distributed.collectives import rank
from reasonrl.errors import RunError
from reasonrl.models.sharded import shard_of

STATE_FILE: Final = "learner.pt"

OPTIMIZER_FOLDER: Final = "optimizer"


@dataclass(frozen=True, slots=True)
class LearnerState:
    """What every process of a learner knows."""

    policy_version: int
    steps_taken: int
    objective: dict[str, Any]
    """Any: numbers and tensors of the objective's own."""

    def save(self, folder: Path) -> None:
        """Write it, on rank 0."""
        if rank() == 0:
            state = {"policy_version": self.policy_version, "steps_taken": self.steps_taken}
            torch.save({**state, "objective": self.objective}, folder / STATE_FILE)

    @classmethod
    def load(cls, folder: Path) -> "LearnerState":
        """Read it.

        Raises:
            RunError: the checkpoint lacks it, or a part of it.
        """
        if not (folder / STATE_FILE).is_file():
            raise RunError(f"{folder}: lacks {STATE_FILE}, so training cannot go on from it as it was.")
        state: Mapping[str, Any] = torch.load(folder / STATE_FILE, weights_only=True)
        if missing := {"policy_version", "steps_taken", "objective"} - state.keys():
            raise RunError(f"{folder / STATE_FILE}: lacks {', '.join(sorted(missing))}.")
        return cls(int(state["policy_version"]), int(state["steps_taken"]), dict(state["objective"]))


def save_optimizer(optimizer: Optimizer, parameters: Mapping[str, nn.Parameter], folder: Path) -> None:
    """Write what an optimizer keeps of each parameter; nothing of one that it has not updated yet.

    Args:
        optimizer: one that keeps tensors and integers.
        parameters: all that it updates, by name.
        folder: of the checkpoint; the same for all processes.
    """
    from torch.distributed.checkpoint.state_dict_saver import save  # not needed before the first checkpoint

    kept = {
        f"{kind}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, parameter in parameters.items()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }
    with _alone_or_not():
        save(kept, checkpoint_id=folder / OPTIMIZER_FOLDER)


def restore_optimizer(optimizer: Optimizer, parameters: Mapping[str, nn.Parameter], folder: Path) -> None:
    """Give an optimizer the state of a checkpoint.

    Args:
        optimizer: as it was saved.
        parameters: all that it updates, by name.
        folder: of the checkpoint.

    Raises:
        RunError: the checkpoint lacks it, or has that of other parameters.
    """
    from torch.distributed.checkpoint.state_dict_loader import load

    source = folder / OPTIMIZER_FOLDER
    kept = _empty(source, parameters)
    with _alone_or_not():
        load(kept, checkpoint_id=source)
    for key, value in kept.items():
        kind, _, name = key.partition(".")
        is_integer = value.dtype == torch.int64  # of all states, the steps of some optimizers alone
        optimizer.state[parameters[name]][kind] = int(value) if is_integer else value


def _empty(source: Path, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return tensors to read an optimizer's state into: those of a parameter's shape are divided as it is."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    if not (source / ".metadata").is_file():
        raise RunError(f"{source.parent}: lacks {OPTIMIZER_FOLDER}/, the optimizer's state, so training cannot go on.")
    found: dict[str, Tensor] = {}
    for key, stored in FileSystemReader(source).read_metadata().state_dict_metadata.items():
        parameter = parameters.get(key.partition(".")[2])
        if parameter is None or not isinstance(stored, TensorStorageMetadata):
            raise RunError(f"{source}: has {key!r}, which is of no parameter that learns here.")
        has_its_shape = stored.size == parameter.shape
        like = parameter.detach() if has_its_shape else shard_of(parameter.detach()).new_empty(stored.size)
        found[key] = torch.zeros_like(like, dtype=stored.properties.dtype)
    return found


@contextmanager
def _alone_or_not() -> Iterator[None]:
    """Let one process save and load without the warning that it is one."""
    with catch_warnings():
        filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield
