"""Coefficients of the loss that follow a target: of the divergence from the initial policy, and of the entropy."""

from collections.abc import Mapping

import torch

from reasonrl.config.settings import AlgorithmSettings
from reasonrl.distributed.collectives import sum_over_ranks

LARGEST_ERROR = 0.2
"""Relative deviation from the target beyond which the KL coefficient does not move faster."""


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
        kl = _mean_over_ranks(*self._observed)
        self.discard_observed()
        if self._target is None or kl is None:
            return
        error = min(max(kl / self._target - 1, -LARGEST_ERROR), LARGEST_ERROR)
        self.coefficient *= 1 + error * num_completions / self._horizon

    def discard_observed(self) -> None:
        """Drop what was observed: a step whose update was refused says nothing about the policy."""
        self._observed = [0.0, 0.0]


class EntropyController:
    """Holds the entropy coefficient; with a target, raises it while the entropy is not above that, else lowers it.

    Adaptive entropy control (Skywork-OR1, arXiv:2505.22312): after every step ``coefficient`` moves by
    ``entropy_delta``, within 0 and ``entropy_max_coefficient``, and the bonus counts only where the entropy of the step
    before is not above the target. No bonus counts before an entropy was measured.
    """

    def __init__(self, algorithm: AlgorithmSettings) -> None:
        self.coefficient = algorithm.entropy_coefficient
        self._entropy: float | None = None
        self._target = algorithm.entropy_target
        self._delta = algorithm.entropy_delta
        self._max_coefficient = algorithm.entropy_max_coefficient

    @property
    def weight(self) -> float:
        """Weight of the entropy in the loss: the coefficient, or 0 where a target is exceeded or not compared yet."""
        if self._target is None:
            return self.coefficient
        return self.coefficient if self._entropy is not None and self._entropy <= self._target else 0.0

    def adapt(self, entropy_sum: float, num_tokens: float) -> None:
        """End a step: move the coefficient, the same on every process, by this process's entropy summed over tokens."""
        entropy = _mean_over_ranks(entropy_sum, num_tokens)
        if self._target is None or entropy is None:
            return
        moved = self.coefficient + (self._delta if entropy <= self._target else -self._delta)
        self.coefficient, self._entropy = min(max(moved, 0.0), self._max_coefficient), entropy

    def state(self) -> Mapping[str, float | None]:
        """Return what a checkpoint must hold: nothing without a target."""
        return {} if self._target is None else {"entropy_coefficient": self.coefficient, "entropy": self._entropy}

    def restore(self, state: Mapping[str, float | None]) -> None:
        """Continue from a checkpoint; from one of a run without a target, as from the beginning."""
        if self._target is not None and (coefficient := state.get("entropy_coefficient")) is not None:
            self.coefficient, self._entropy = coefficient, state["entropy"]


def _mean_over_ranks(value_sum: float, num_tokens: float) -> float | None:
    """Return the mean over the tokens of all processes, the same on each; None where there are none."""
    total, count = sum_over_ranks(torch.tensor([value_sum, num_tokens], dtype=torch.float64)).tolist()
    return total / count if count else None
