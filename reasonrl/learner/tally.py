"""Gather what an update measures, token by token, across micro-batches."""

from collections import defaultdict

import torch
from torch import Tensor

from reasonrl.config import AlgorithmSettings


class Tally:
    """Sums, means and extremes by metric name."""

    def __init__(self) -> None:
        """Start empty."""
        self._sums: dict[str, float] = defaultdict(float)
        self._means: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._largest: dict[str, float] = {}

    def add(self, name: str, value: float) -> None:
        """Add to a sum."""
        self._sums[name] += value

    def set(self, name: str, value: float) -> None:
        """Keep the latest value."""
        self._sums[name] = value

    def add_mean(self, name: str, values_M: Tensor) -> None:
        """Take values into a mean."""
        total = self._means[name]
        total[0] += float(values_M.sum())
        total[1] += values_M.numel()

    def add_largest(self, name: str, values_M: Tensor) -> None:
        """Take values into a maximum."""
        self._largest[name] = max(self._largest.get(name, -torch.inf), float(values_M.max()))

    @torch.no_grad()
    def add_policy(self, logprobs_M: Tensor, old_M: Tensor, sampler_M: Tensor, algorithm: AlgorithmSettings) -> None:
        """Take in how far the policy is from the one before the step, and from what the sampler said.

        ``ratio`` compares with the policy before the step; ``mismatch`` compares the learner's arithmetic with
        the sampler's on the same weights, and is rounding when all is well.
        """
        ratio_M = (logprobs_M - old_M).exp()
        clipped_M = (ratio_M < 1 - algorithm.clip_low) | (ratio_M > 1 + algorithm.clip_high)
        self.add_mean("ratio/mean", ratio_M)
        self.add_largest("ratio/max", ratio_M)
        self.add_mean("ratio/clipped", clipped_M.float())
        difference_M = (old_M - sampler_M).abs()
        self.add_mean("mismatch/mean", difference_M)
        self.add_largest("mismatch/max", difference_M)
        self.add("learner/tokens", float(logprobs_M.numel()))

    def metrics(self) -> dict[str, float]:
        """Return everything by name."""
        means = {name: total / max(count, 1.0) for name, (total, count) in self._means.items()}
        return {**self._sums, **means, **self._largest}
