"""The loop: sample groups, score them, compare each completion with its group, learn, hand on the weights."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor

from reasonrl.engines import Engine
from reasonrl.metrics import step_metrics
from reasonrl.rollouts import Rollouts
from reasonrl.types import Group, StepRecord, TrainingSample, Verdict


class Policy(Protocol):
    """What the loop asks of a learner."""

    policy_version: int

    def update(self, samples: Sequence[TrainingSample]) -> dict[str, float]:
        """Learn from one step's samples and return what was measured."""
        ...

    def weights(self) -> Iterable[tuple[str, Tensor]]:
        """Return the parameters by name."""
        ...


class Grader(Protocol):
    """What the loop asks of scoring."""

    def score(self, groups: Sequence[Group]) -> tuple[tuple[Verdict, ...], ...]:
        """Return one verdict a completion, in the order of the groups."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a run that a step uses."""

    scorer: Grader
    advantage: Callable[[Tensor], Tensor]
    learner: Policy
    engine: Engine


def train(batches: Iterable[Rollouts], parts: Parts, after_step: Callable[[StepRecord], None]) -> None:
    """Take one optimizer step for each batch of sampled groups, and report each."""
    for batch in batches:
        began = perf_counter()
        verdicts = parts.scorer.score(batch.groups)
        advantages_PG = parts.advantage(rewards(verdicts)).tolist()
        scored = perf_counter()
        measured = parts.learner.update(training_samples(batch.groups, advantages_PG))
        parts.engine.load(parts.learner.weights(), parts.learner.policy_version)
        seconds = {"sampling": batch.seconds, "scoring": scored - began, "learning": perf_counter() - scored}
        after_step(
            StepRecord(
                step=batch.step,
                groups=batch.groups,
                verdicts=verdicts,
                advantages=tuple(map(tuple, advantages_PG)),
                metrics=step_metrics(batch.groups, verdicts, measured, seconds),
            )
        )


def rewards(verdicts: Sequence[Sequence[Verdict]]) -> Tensor:
    """Return total rewards as ``rewards_PG``, NaN where a completion has none."""
    return torch.tensor(
        [[torch.nan if v.total.value is None else v.total.value for v in group] for group in verdicts],
        dtype=torch.float64,
    )


def training_samples(groups: Sequence[Group], advantages_PG: Sequence[Sequence[float]]) -> list[TrainingSample]:
    """Join every completion with its advantage."""
    return [
        TrainingSample(
            prompt_ids=group.prompt_ids,
            completion_ids=completion.token_ids,
            sampler_logprobs=completion.logprobs,
            advantage=advantage,
        )
        for group, advantages_G in zip(groups, advantages_PG, strict=True)
        for completion, advantage in zip(group.completions, advantages_G, strict=True)
    ]
