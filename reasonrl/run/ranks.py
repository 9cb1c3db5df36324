"""All ranks of a run: rank 0 runs the program and calls on the others for what computes; the others follow."""

from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from reasonrl.config.settings import ParallelSettings, RunConfig
from reasonrl.distributed.calls import Ranks
from reasonrl.distributed.collectives import num_ranks
from reasonrl.distributed.processes import join, leave
from reasonrl.distributed.watch import is_in_step
from reasonrl.engines.spread import RankSampler
from reasonrl.learner.logprobs import LogprobModel
from reasonrl.models.compute import Compute
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.learning import Learning, build_learning, build_shared_engine
from reasonrl.types import TrainingSample


def all_ranks() -> Ranks:
    """Return the ranks of this process's group: the same each time. A single process has new ones each time."""
    return _joined_ranks() if num_ranks() > 1 else _new_ranks()


@cache
def _joined_ranks() -> Ranks:
    return _new_ranks()


def _new_ranks() -> Ranks:
    objects: dict[str, Any] = {}
    objects["builder"] = Builder(objects)
    return Ranks(objects)


@contextmanager
def joined(settings: ParallelSettings, device: str) -> Iterator[None]:
    """On rank 0: join the other ranks, and let them go when the body has ended well; else they end by themselves."""
    join(settings, device)
    all_ranks()
    yield
    if is_in_step():  # else they were ended in the middle of a call
        all_ranks().end()
        leave()


def follow(settings: ParallelSettings, device: str) -> None:
    """On every rank but 0: join, and do what rank 0 asks for until it ends."""
    join(settings, device)
    all_ranks().follow()
    leave()


class Builder:
    """Builds what rank 0 then calls; again after a roll-back, in place of the earlier.

    Args:
        objects: this rank's, by name.
    """

    def __init__(self, objects: MutableMapping[str, Any]) -> None:  # Any: whatever is called
        self._objects = objects

    def build(
        self, config: RunConfig, plugins: Plugins | None, checkpoint: Path | None, rate_factor: float, compute: Compute
    ) -> Learning:
        """Load the models and what learns and samples with them.

        Args:
            config: the run.
            plugins: rank 0's; the others look theirs up.
            checkpoint: continue from this folder; None starts from the run's model.
            rate_factor: multiplies the learning rate.
            compute: how the models are computed.
        """
        plugins = plugins or Plugins(timeout_s=config.plugins.timeout_s)
        self.forget()
        learning = build_learning(config, plugins, checkpoint=checkpoint, rate_factor=rate_factor, compute=compute)
        engine = build_shared_engine(config, plugins, learning)
        built = {
            "learner": learning.learner,
            "critic": learning.critic,
            "policy": LogprobService(learning.policy),
            "reference": learning.initial.model and LogprobService(learning.initial.model),
            "teacher": learning.teacher,
            "sampler": engine and RankSampler(engine, lambda: learning.strategy.gathered(learning.actor.model)),
        }
        self._objects.update({name: part for name, part in built.items() if part is not None})
        return learning

    def forget(self) -> None:
        """Drop what was built: the next one needs the memory."""
        for name in [name for name in self._objects if name != "builder"]:
            del self._objects[name]


@dataclass(frozen=True, slots=True)
class LogprobService:
    """Computes log-probabilities where all ranks are called."""

    model: LogprobModel

    def of_samples(self, samples: Sequence[TrainingSample], max_tokens: int, temperature: float) -> list[Tensor]:
        """Return those of each sample's tokens under a temperature; see :meth:`LogprobModel.of_samples`."""
        return replace(self.model, temperature=temperature).of_samples(samples, max_tokens=max_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledLogprobs:
    """A model whose log-probabilities all ranks compute together, each those of its share."""

    ranks: Ranks
    target: str
    temperature: float

    def of_samples(self, samples: Sequence[TrainingSample], *, max_tokens: int) -> list[Tensor]:
        """Return for each sample the log-probabilities [T] of its tokens that have a loss."""
        found: list[Tensor] = self.ranks.call(self.target, "of_samples", samples, max_tokens, self.temperature)
        return found


class CalledLearner:
    """The learner of a run, whose ranks all take part in what it does.

    Args:
        ranks: are called.
        learning: rank 0's part.
    """

    def __init__(self, ranks: Ranks, learning: Learning) -> None:
        self._ranks = ranks
        self._own = learning.learner
        self.actor = learning.actor
        """Rank 0's learner of the policy, without a critic."""

    @property
    def policy_version(self) -> int:
        """Updates of the policy."""
        return self._own.policy_version

    @policy_version.setter
    def policy_version(self, version: int) -> None:
        self._own.policy_version = version

    @property
    def model(self) -> PreTrainedModel:
        """Rank 0's module: all of the policy, or its part of it."""
        return self._own.model

    def update(self, samples: Sequence[TrainingSample]) -> dict[str, float]:
        """Learn from one step's samples and return what was measured."""
        measured: dict[str, float] = self._ranks.call("learner", "update", samples)
        return measured

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """Yield the policy's parameters by name, whole, one at a time."""
        return self._ranks.iterate("learner", "weights")

    def save_state(self, folder: Path) -> None:
        """Write everything that learns into a folder that all ranks see."""
        self._ranks.call("learner", "save_state", folder.absolute())
