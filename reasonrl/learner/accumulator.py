"""Accumulates what an update measures, token by token, over micro-batches and processes.

What is computed on a device stays there until the end of the step: to read it is to wait for it.
"""

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
        self._means: dict[str, list[float | Tensor]] = defaultdict(lambda: [0.0, 0.0])
        self._largest: dict[str, Tensor] = {}

    def add(self, name: str, value: float) -> None:
        """Add to a sum."""
        self._sums[name] += value

    def add_mean(self, name: str, values_M: Tensor) -> None:
        """Take values into a mean."""
        self._add_to_mean(name, values_M.detach().sum().double(), values_M.numel())

    def total(self, name: str) -> tuple[float, float]:
        """Return the sum of the values in a mean, and how many there are, of this process alone."""
        total, count = self._means.get(name, (0.0, 0.0))
        return float(total), float(count)

    def add_largest(self, name: str, values_M: Tensor) -> None:
        """Take values into a maximum."""
        largest = values_M.detach().max()
        self._largest[name] = torch.maximum(self._largest[name], largest) if name in self._largest else largest

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
        teaches_M = advantages_M != 0
        self._add_to_mean("ratio/clipped", ((gradient_M == 0) & teaches_M).sum(), teaches_M.sum())

    def metrics(self) -> dict[str, float]:
        """Return everything by name, over all processes."""
        means = {name: self.total(name) for name in self._means}
        states: list[Any] = gather((dict(self._sums), means, {name: float(x) for name, x in self._largest.items()}))
        sums, totals = dict[str, float](), dict[str, tuple[float, float]]()
        largest = dict[str, float]()
        for of_sums, of_means, of_largest in states:
            sums |= {name: sums.get(name, 0.0) + value for name, value in of_sums.items()}
            for name, (total, count) in of_means.items():
                before = totals.get(name, (0.0, 0.0))
                totals[name] = before[0] + total, before[1] + count
            largest |= {name: max(largest.get(name, -torch.inf), value) for name, value in of_largest.items()}
        return {**sums, **{name: total / max(count, 1.0) for name, (total, count) in totals.items()}, **largest}

    def _add_to_mean(self, name: str, total: Tensor, count: Tensor | int) -> None:
        mean = self._means[name]
        mean[0], mean[1] = mean[0] + total, mean[1] + count
