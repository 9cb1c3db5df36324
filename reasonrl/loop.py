"""The loop: take sampled and scored groups, compare each completion with its group, learn, hand on the weights."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from torch import Tensor

from reasonrl.credit import Credit
from reasonrl.engines import Engine
from reasonrl.metrics import step_metrics
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
class Parts:
    """The parts of a run that a step uses."""

    credit: Credit
    learner: Policy
    engine: Engine


def train(batches: Iterable[Batch], parts: Parts, after_step: Callable[[StepRecord], None]) -> None:
    """Take one step for each batch of sampled and scored groups, and report each."""
    for batch in batches:
        began = perf_counter()
        advantages = parts.credit.advantages(batch)
        parts.engine.sleep()
        measured = parts.learner.update(parts.credit.samples(batch, advantages))
        parts.engine.load(parts.learner.weights(), parts.learner.policy_version)
        metrics = step_metrics(batch, measured, learning_s=perf_counter() - began)
        after_step(StepRecord(batch=batch, advantages=advantages, metrics=metrics))
