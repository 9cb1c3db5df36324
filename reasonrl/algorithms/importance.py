"""Truncated importance weights: correct for a sampler whose log-probabilities are not the learner's.

The same weights computed by two programs give slightly different policies, and a step sampled ahead of time comes
from an older one. Each function returns a factor of every token's policy loss, held constant in the gradient.
``old_logprobs_M`` are the learner's before the step, ``sampler_logprobs_M`` what the sampler said. A weight of 0
does not leave the reduction's denominator, so what is masked does not make the rest count for more.
"""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from reasonrl.algorithms.ratios import ratio
from reasonrl.algorithms.sequences import sequence_means, to_tokens


def token_weights(
    old_logprobs_M: Tensor, sampler_logprobs_M: Tensor, lengths_N: Tensor, *, low: float, high: float
) -> Tensor:
    """``min(old / sampler, high)`` of each token, and never below ``low`` (Espeholt et al. 2018, arXiv:1802.01561)."""
    return ratio(old_logprobs_M - sampler_logprobs_M).clamp(low, high).detach()


def sequence_weights(
    old_logprobs_M: Tensor, sampler_logprobs_M: Tensor, lengths_N: Tensor, *, low: float, high: float
) -> Tensor:
    """The same of each sequence's geometric mean, so that a long sequence is not cut more (trl issue 5814)."""
    weights_N = ratio(sequence_means(old_logprobs_M - sampler_logprobs_M, lengths_N))
    return to_tokens(weights_N.clamp(low, high), lengths_N, len(old_logprobs_M)).detach()


def band_weights(
    old_logprobs_M: Tensor, sampler_logprobs_M: Tensor, lengths_N: Tensor, *, low: float, high: float
) -> Tensor:
    """The token's weight inside the band [low, high] and 0 outside it (IcePop, arXiv:2510.18855)."""
    weights_M = ratio(old_logprobs_M - sampler_logprobs_M)
    inside_M = (weights_M >= low) & (weights_M <= high)
    return torch.where(inside_M, weights_M, 0.0).detach()


IMPORTANCE: Final[Mapping[str, Callable[..., Tensor]]] = {
    "token": token_weights,
    "sequence": sequence_weights,
    "band": band_weights,
}
