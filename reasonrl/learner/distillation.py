"""On-policy distillation: what a teacher says of sampled tokens, as advantages or as a divergence in the loss."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from reasonrl.algorithms.distillation import top_k_reverse_kl
from reasonrl.learner.accumulator import MetricAccumulator
from reasonrl.learner.batching import Budget, Microbatch, Row
from reasonrl.learner.logprobs import LogprobModel
from reasonrl.learner.objectives import PolicyObjective
from reasonrl.learner.sharing import tokens_of_samples
from reasonrl.types import Advantage, Group, RewardResult, RewardResults, TeacherTokens, TrainingSample, Trajectory

Value = TypeVar("Value")


class Teacher(Protocol):
    """Says how probable sampled tokens would have been for it."""

    def of_samples(self, samples: Sequence[TrainingSample]) -> list[TeacherTokens]:
        """Return what it says of the tokens of each sample that the policy chose."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherScoring:
    """Notes in the results of a step what a teacher says of the tokens; changes no score."""

    teacher: Teacher

    def __call__(self, groups: Sequence[Group], results: tuple[RewardResults, ...]) -> tuple[RewardResults, ...]:
        """Return the results with the teacher's log-probabilities."""
        # The advantages are not known yet, and do not matter here.
        samples = [TrainingSample.of(group, trajectory) for group in groups for trajectory in group.trajectories]
        said = iter(self.teacher.of_samples(samples))
        return tuple(tuple(replace(result, teacher=next(said)) for result in members) for members in results)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherModel:
    """A teacher in this process, or this rank's part of one."""

    model: LogprobModel
    top_k: int | None
    """How many of its most probable tokens are asked for."""
    vocabulary: int
    """Tokens of the policy; a teacher may have rows of its head beyond them, which stand for none."""

    @torch.no_grad()
    def of_samples(self, samples: Sequence[TrainingSample], *, max_tokens: int) -> list[TeacherTokens]:
        """Return what it says of each sample's tokens that have a loss, computed by all processes.

        Args:
            samples: any number of them.
            max_tokens: budget of one forward pass, with the padding that it computes.
        """
        budget = Budget(tokens=max_tokens, pads=self.model.pads)
        found = tokens_of_samples(self.model.model, samples, self._tokens, budget)
        return [_said(values_TX, self.top_k) for values_TX in found]

    def _tokens(self, batch: Microbatch) -> Tensor:
        """Return for each token with a loss [M] its log-probability, then the best tokens' ids and theirs."""
        if self.top_k is None:
            return self.model.logprobs(batch).logprobs_M[:, None]
        logprobs_M, top_ids_MK, top_logprobs_MK = self.model.top_logprobs(batch, self.top_k, self.vocabulary)
        # Ids stand exactly in float64, which one tensor needs for both.
        return torch.cat([logprobs_M[:, None].double(), top_ids_MK.double(), top_logprobs_MK.double()], dim=1)


def _said(values_TX: Tensor, top_k: int | None) -> TeacherTokens:
    logprobs, *top = values_TX.tensor_split([1, 1 + (values_TX.shape[1] - 1) // 2], dim=1)
    said = TeacherTokens(logprobs=tuple(logprobs[:, 0].tolist()))
    if top_k is None:
        return said
    ids_TK, logprobs_TK = top
    return replace(
        said, top_ids=tuple(map(tuple, ids_TK.long().tolist())), top_logprobs=tuple(map(tuple, logprobs_TK.tolist()))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherCredit:
    """Adds the advantages that rewards give, and those that a teacher gives, by weight."""

    weight: float
    """Of ``log teacher - log sampler`` of a token; 0 where the divergence stands in the loss."""
    reward_weight: float

    def advantage(self, of_rewards: Advantage, trajectory: Trajectory, result: RewardResult) -> Advantage:
        """Return the advantage of every token after the prompt; 0 for those that the policy did not choose.

        A token is judged by itself, without what it leads to: the log-ratio of a token is an unbiased estimate of the
        divergence there, whose gradient the policy-gradient loss then has.
        """
        assert result.teacher is not None, "what a run with a teacher scores has its log-probabilities"
        if not self.weight:
            return _times(self.reward_weight, of_rewards)
        said = iter(result.teacher.logprobs)
        rewarded = of_rewards if isinstance(of_rewards, tuple) else repeat(of_rewards)
        tokens = zip(trajectory.mask, trajectory.logprobs, rewarded, strict=False)
        return tuple(
            self.reward_weight * reward + self.weight * (next(said) - logprob) if chosen else 0.0
            for chosen, logprob, reward in tokens
        )


def _times(factor: float, advantage: Advantage) -> Advantage:
    if isinstance(advantage, tuple):
        return tuple(factor * value for value in advantage)
    return factor * advantage


@dataclass(frozen=True, slots=True, kw_only=True)
class TopKObjective(PolicyObjective):
    """The policy objective with the divergence from a teacher over its most probable tokens beside it."""

    weight: float
    """Factor of the divergence."""

    @property
    def needs_every_row(self) -> bool:
        """Say that a row without advantage has a loss too."""
        return True

    def rows(self, samples: Sequence[TrainingSample]) -> list[Row]:
        """Return the rows of the policy objective, each with the teacher's tokens."""
        return [
            replace(row, columns={**row.columns, **_columns(row.sample)}) for row in PolicyObjective.rows(self, samples)
        ]

    def losses(self, batch: Microbatch, measured: MetricAccumulator) -> Tensor:
        """Return the weighted loss of every token [M]."""
        ids_MK, teacher_MK = batch.columns["teacher_ids"], batch.columns["teacher_logprobs"]
        current = self.policy.logprobs(batch, with_entropy=self.has_entropy, further_MK=ids_MK)
        assert current.further_MK is not None, "they were asked for"
        divergence_M = top_k_reverse_kl(current.further_MK, teacher_MK)
        measured.add_mean("distillation/kl_top_k", divergence_M)
        known_MK = torch.where(teacher_MK > -torch.inf, current.further_MK.detach().exp(), 0.0)
        measured.add_mean("distillation/others", (1.0 - known_MK.sum(dim=1)).clamp(min=0.0))
        losses_M = self.token_losses(current, batch, measured) + self.weight * divergence_M
        return losses_M * batch.weights_M


def _columns(sample: TrainingSample) -> dict[str, tuple[tuple[float, ...], ...]]:
    """Return the teacher's most probable tokens and their log-probabilities for each token after the prompt."""
    assert sample.teacher is not None, "what a run with a teacher learns from has its log-probabilities"
    return {
        "teacher_ids": _spread(sample.teacher.top_ids, sample.mask),
        "teacher_logprobs": _spread(sample.teacher.top_logprobs, sample.mask),
    }


def _spread(values: Sequence[tuple[Value, ...]], mask: Sequence[bool]) -> tuple[tuple[Value, ...], ...]:
    """Return the values of chosen tokens at their places; what stands between them is never looked at."""
    left = iter(values)
    return tuple(next(left) if chosen else () for chosen in mask)
