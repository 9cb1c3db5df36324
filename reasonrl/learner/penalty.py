"""The divergence from the initial policy, taken off the reward."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reasonrl.learner.batching import Row, microbatches
from reasonrl.learner.controller import KLController
from reasonrl.learner.logprobs import LogprobModel
from reasonrl.types import Grader, Group, Rollout, TrainingSample, Verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class KLPenalty:
    """Takes ``coefficient * sum of log(policy / reference)`` off the reward of each completion.

    The sum over a completion's tokens is k1, whose score-function gradient is that of KL(policy || reference); the
    policy's log-probabilities are the sampler's, under which the tokens were drawn (arXiv:2203.02155, equation 2).

    Args:
        grader: whose verdicts are changed.
        reference: the initial policy.
        controller: holds the coefficient, and is told the divergence.
        microbatch_tokens: most tokens in one forward pass.
    """

    grader: Grader
    reference: LogprobModel
    controller: KLController
    microbatch_tokens: int

    def start(self, rollout: Rollout, step: int) -> None:
        """Let the rewards begin; the divergences are those of whole steps."""
        self.grader.start(rollout, step)

    def start_group(self, group: Group, step: int) -> None:
        """Let the rewards of groups begin."""
        self.grader.start_group(group, step)

    def score(self, groups: Sequence[Group], step: int) -> tuple[Verdicts, ...]:
        """Return the grader's verdicts with the penalty ``kl``."""
        verdicts, divergences = self.grader.score(groups, step), iter(self._divergences(groups))
        return tuple(
            tuple(verdict.less("kl", self.controller.coefficient * next(divergences)) for verdict in members)
            for members in verdicts
        )

    def _divergences(self, groups: Sequence[Group]) -> list[float]:
        """Return k1 of every completion, summed over its tokens, in the order of the groups."""
        # The advantages are not known yet, and do not matter here.
        samples = [TrainingSample.of(group, completion) for group in groups for completion in group.completions]
        rows = [Row(sample=sample, weight=0.0) for sample in samples]
        sums = [0.0] * len(rows)
        for indices, k1s in self._k1(rows):
            for index, k1_T in zip(indices, k1s, strict=True):
                sums[index] = float(k1_T.double().sum())
        self.controller.observe(sum(sums), sum(len(row.sample.completion_ids) for row in rows))
        return sums

    @torch.no_grad()
    def _k1(self, rows: Sequence[Row]) -> list[tuple[list[int], tuple[Tensor, ...]]]:
        """Return log(policy / reference) of every token, with the indices of the rows."""
        device, found = self.reference.model.device, []
        for indices, batch in microbatches(rows, max_tokens=self.microbatch_tokens, device=device):
            k1_M = batch.sampler_logprobs_M - self.reference.values(batch).logprobs_M
            found.append((indices, torch.split(k1_M, batch.lengths)))
        return found
