"""The divergence from the initial policy, taken off the reward or measured only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from reasonrl.algorithms.divergence import k3
from reasonrl.learner.controller import KLController
from reasonrl.types import Divergence, Group, RewardResult, RewardResults, TrainingSample


class SampleLogprobs(Protocol):
    """A model that computes the log-probabilities of given tokens."""

    def of_samples(self, samples: Sequence[TrainingSample], *, max_tokens: int) -> list[Tensor]:
        """Return for each sample the log-probabilities [T] of its tokens that have a loss."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KLPenalty:
    """Takes ``coefficient * sum of log(policy / reference)`` off the reward of each completion, and says each token's.

    The sum over a completion's tokens is k1, whose score-function gradient is that of KL(policy || reference); the
    policy's log-probabilities are the sampler's, under which the tokens were drawn (arXiv:2203.02155, equation 2).

    Args:
        reference: the initial policy.
        controller: holds the coefficient, and is told the divergence.
        microbatch_tokens: most tokens in one forward pass.
        is_charged: take it off; without, it is only noted in the results.
    """

    reference: SampleLogprobs
    controller: KLController
    microbatch_tokens: int
    is_charged: bool = True

    def __call__(self, groups: Sequence[Group], results: tuple[RewardResults, ...]) -> tuple[RewardResults, ...]:
        """Return the results with the divergence of each completion and, where it is charged, the penalty ``kl``."""
        divergences, coefficient = iter(self._divergences(groups)), self.controller.coefficient

        def charged(result: RewardResult) -> RewardResult:
            k1_T = next(divergences)
            noted = replace(result, divergence=_divergence(k1_T))
            if not self.is_charged:
                return noted
            return noted.less("kl", coefficient * float(k1_T.sum()), tuple((coefficient * k1_T).tolist()))

        return tuple(tuple(map(charged, members)) for members in results)

    def _divergences(self, groups: Sequence[Group]) -> list[Tensor]:
        """Return k1 of the tokens [T] that the policy chose, of every trajectory in the order of the groups."""
        # The advantages are not known yet, and do not matter here.
        samples = [TrainingSample.of(group, trajectory) for group in groups for trajectory in group.trajectories]
        references = self.reference.of_samples(samples, max_tokens=self.microbatch_tokens)
        divergences = [_k1(sample, reference_T) for sample, reference_T in zip(samples, references, strict=True)]
        total = sum(float(k1_T.sum()) for k1_T in divergences)
        self.controller.observe(total, sum(sample.num_loss_tokens for sample in samples))
        return divergences


def _k1(sample: TrainingSample, reference_T: Tensor) -> Tensor:
    """Return log(policy / reference) of the tokens [T] that the policy chose, in float64."""
    sampler = [logprob for logprob, chosen in zip(sample.sampler_logprobs, sample.mask, strict=True) if chosen]
    return (torch.tensor(sampler, device=reference_T.device) - reference_T).double()


def _divergence(k1_T: Tensor) -> Divergence:
    # k3 is a function of the log-ratio, which k1 is.
    return Divergence(k1=float(k1_T.sum()), k3=float(k3(k1_T, torch.zeros_like(k1_T)).sum()))
