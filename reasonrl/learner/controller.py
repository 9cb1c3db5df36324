"""The weight of the divergence from the initial policy, fixed or following a target."""

import torch

from reasonrl.config.settings import AlgorithmSettings
from reasonrl.distributed.collectives import sum_over_ranks

LARGEST_ERROR = 0.2
"""Relative deviation from the target beyond which the coefficient does not move faster."""


class KLController:
    """Holds the KL coefficient; with a target, moves it so that the divergence stays near it.

    ``coefficient *= 1 + clip(kl / target - 1, -0.2, 0.2) * completions / horizon`` after every step (Ziegler et al.
    2019, arXiv:1909.08593, section 2.2); ``kl`` is the mean of a step in nats a token.
    """

    def __init__(self, algorithm: AlgorithmSettings) -> None:
        self.coefficient = algorithm.kl_coefficient
        self._target = algorithm.kl_target
        self._horizon = algorithm.kl_horizon
        self._observed = [0.0, 0.0]

    def observe(self, kl_sum: float, num_tokens: float) -> None:
        """Take in a divergence, summed over tokens."""
        self._observed[0] += kl_sum
        self._observed[1] += num_tokens

    def adapt(self, num_completions: int) -> None:
        """End a step: move the coefficient, the same on every process, and forget what was observed."""
        kl_sum, num_tokens = sum_over_ranks(torch.tensor(self._observed, dtype=torch.float64)).tolist()
        self.discard_observed()
        if self._target is None or not num_tokens:
            return
        error = kl_sum / num_tokens / self._target - 1
        clipped = min(max(error, -LARGEST_ERROR), LARGEST_ERROR)
        self.coefficient *= 1 + clipped * num_completions / self._horizon

    def discard_observed(self) -> None:
        """Drop what was observed: a step whose update was refused says nothing about the policy."""
        self._observed = [0.0, 0.0]
