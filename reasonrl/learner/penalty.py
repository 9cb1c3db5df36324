"""The divergence from the initial policy, taken off the reward."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reasonrl.learner.controller import KLController
from reasonrl.learner.logprobs import LogprobModel
from reasonrl.types import Group, RewardResults, TrainingSample


@dataclass(frozen=True, slots=True, kw_only=True)
class KLPenalty:
    """Takes ``coefficient * sum of log(policy / reference)`` off the reward of each completion.

    The sum over a completion's tokens is k1, whose score-function gradient is that of KL(policy || reference); the
    policy's log-probabilities are the sampler's, under which the tokens were drawn (arXiv:2203.02155, equation 2).

    Args:
        reference: the initial policy.
        controller: holds the coefficient, and is told the divergence.
        microbatch_tokens: most tokens in one forward pass.
    """

    reference: LogprobModel
    controller: KLController
    microbatch_tokens: int

    def __call__(self, groups: Sequence[Group], results: tuple[RewardResults, ...]) -> tuple[RewardResults, ...]:
        """Return the results with the penalty ``kl``."""
        divergences = iter(self._divergences(groups))
        return tuple(
            tuple(result.less("kl", self.controller.coefficient * next(divergences)) for result in members)
            for members in results
        )

    def _divergences(self, groups: Sequence[Group]) -> list[float]:
        """Return k1 of every trajectory, summed over the tokens that the policy chose, in the order of the groups."""
        # The advantages are not known yet, and do not matter here.
        samples = [TrainingSample.of(group, trajectory) for group in groups for trajectory in group.trajectories]
        references = self.reference.of_samples(samples, max_tokens=self.microbatch_tokens)
        sums = [_k1(sample, reference_T) for sample, reference_T in zip(samples, references, strict=True)]
        self.controller.observe(sum(sums), sum(sample.num_loss_tokens for sample in samples))
        return sums


def _k1(sample: TrainingSample, reference_T: Tensor) -> float:
    """Return log(policy / reference), summed over the tokens that the policy chose."""
    sampler = [logprob for logprob, chosen in zip(sample.sampler_logprobs, sample.mask, strict=True) if chosen]
    return float((torch.tensor(sampler, device=reference_T.device) - reference_T).double().sum())
