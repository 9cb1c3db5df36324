"""Accumulates what an update measures, token by token, over micro-batches and processes."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from reasonrl.algorithms.ratios import ratio
from reasonrl.distributed.collectives import gather


class MetricAccumulator:
    """Sums, means and extremes by metric name."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._means: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._largest: dict[str, float] = {}

    def add(self, name: str, value: float) -> None:
        """Add to a sum."""
        self._sums[name] += value

    def add_mean(self, name: str, values_M: Tensor) -> None:
        """Take values into a mean."""
        total = self._means[name]
        total[0] += float(values_M.sum())
        total[1] += values_M.numel()

    def total(self, name: str) -> tuple[float, float]:
        """Return the sum of the values in a mean, and how many there are, of this process alone."""
        total, count = self._means.get(name, (0.0, 0.0))
        return total, count

    def add_largest(self, name: str, values_M: Tensor) -> None:
        """Take values into a maximum."""
        self._largest[name] = max(self._largest.get(name, -torch.inf), float(values_M.max()))

    @torch.no_grad()
    def add_policy(self, logprobs_M: Tensor, old_M: Tensor, sampler_M: Tensor) -> None:
        """Take in how far the policy is from the one before the step, and from what the sampler said.

        ``ratio`` compares with the policy before the step; ``mismatch`` compares that policy with what the sampler
        said: rounding when both had the same weights and all is well, and the updates between them where sampling runs
        ahead (``staleness/*``).
        """
        ratio_M = ratio(logprobs_M - old_M)
        self.add_mean("ratio/mean", ratio_M)
        self.add_largest("ratio/max", ratio_M)
        difference_M = (old_M - sampler_M).abs()
        self.add_mean("mismatch/mean", difference_M)
        self.add_largest("mismatch/max", difference_M)
        self.add("learner/tokens", float(logprobs_M.numel()))

    def add_clipped(self, losses_M: Tensor, logprobs_M: Tensor, advantages_M: Tensor) -> None:
        """Take in the share of tokens with an advantage that the loss gives no gradient: those it clips."""
        (gradient_M,) = torch.autograd.grad(losses_M.sum(), logprobs_M, retain_graph=True)
        self.add_mean("ratio/clipped", (gradient_M[advantages_M != 0] == 0).float())

    def metrics(self) -> dict[str, float]:
        """Return everything by name, over all processes."""
        merged = MetricAccumulator()
        states: list[Any] = gather((dict(self._sums), dict(self._means), self._largest))
        for sums, means, largest in states:
            for name, value in sums.items():
                merged._sums[name] += value
            for name, (total, count) in means.items():
                merged._means[name] = [merged._means[name][0] + total, merged._means[name][1] + count]
            for name, value in largest.items():
                merged._largest[name] = max(merged._largest.get(name, -torch.inf), value)
        return merged._values()

    def _values(self) -> dict[str, float]:
        means = {name: total / max(count, 1.0) for name, (total, count) in self._means.items()}
        return {**self._sums, **means, **self._largest}
