"""The loop: take sampled and scored groups, compare each trajectory with its group, learn, sync the weights, report."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from reasonrl.engines import Engine
from reasonrl.learner.credit import Credit
from reasonrl.system.timer import PhaseTimer
from reasonrl.types import Batch, StepRecord, TrainingSample


class Policy(Protocol):
    """What the loop asks of a learner."""

    policy_version: int

    def update(self, samples: Sequence[TrainingSample]) -> dict[str, float]:
        """Learn from one step's samples and return what was measured."""
        ...

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """Return the parameters by name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepComponents:
    """The parts of a run that a step uses."""

    credit: Credit
    learner: Policy
    engine: Engine
    timer: PhaseTimer


def train(batches: Iterable[Batch], parts: StepComponents, after_step: Callable[[StepRecord], None]) -> None:
    """Take one step for each batch of sampled and scored groups, and report each."""
    learner, engine, timer = parts.learner, parts.engine, parts.timer
    for batch in timer.each(batches, "waiting"):
        version = learner.policy_version
        with timer.phase("learning"):
            engine.sleep()
            estimates = parts.credit.estimate(batch)
            measured = learner.update(parts.credit.samples(batch, estimates))
        with timer.phase("weight_sync"):
            engine.load_weights(learner.weights(), learner.policy_version)
        record = StepRecord(
            batch=batch,
            advantages=estimates.advantages,
            policy_version=version,
            measured=measured,
            seconds=timer.take(),
        )
        after_step(record)
