"""Per-token estimates of KL(policy || reference) from samples of the policy (Schulman 2020, "Approximating KL").

What is a good estimate is not always a good loss: plain k1 has zero expected gradient, and plain k3 follows
KL(reference || policy). As a loss each is weighted by ``policy / old``, the ratio to the policy that drew the tokens
(DeepSeek-V3.2, arXiv:2512.02556): :func:`k1_loss`, :func:`k2_loss` and :func:`k3_loss` have the expected gradient of
KL(policy || reference) also after the policy has moved away from the one before the step. In the reward only k1 will
do: there the estimate itself is not differentiated, and k1 is the one whose own gradient is 0 in expectation.
"""

from collections.abc import Callable, Mapping
from typing import Final

from torch import Tensor

from reasonrl.algorithms.ratios import limited, ratio


def k1(logprobs_M: Tensor, reference_logprobs_M: Tensor) -> Tensor:
    """``log(policy / reference)``: unbiased, may be negative. Belongs in the reward."""
    return logprobs_M - reference_logprobs_M


def k2(logprobs_M: Tensor, reference_logprobs_M: Tensor) -> Tensor:
    """Half the squared log-ratio: its expected gradient is that of KL(policy || reference)."""
    return k1(logprobs_M, reference_logprobs_M).square() / 2


def k3(logprobs_M: Tensor, reference_logprobs_M: Tensor) -> Tensor:
    """``r - 1 - log r`` with ``r = reference / policy``: unbiased and never negative. The one to report."""
    log_ratio_M = reference_logprobs_M - logprobs_M
    return limited(log_ratio_M).expm1() - log_ratio_M


def k1_loss(logprobs_M: Tensor, reference_logprobs_M: Tensor, old_logprobs_M: Tensor) -> Tensor:
    """k1 weighted by ``policy / old``, with the gradient of KL(policy || reference)."""
    return ratio(logprobs_M - old_logprobs_M) * k1(logprobs_M, reference_logprobs_M)


def k2_loss(logprobs_M: Tensor, reference_logprobs_M: Tensor, old_logprobs_M: Tensor) -> Tensor:
    """k2 weighted by ``policy / old`` held constant, with the gradient of KL(policy || reference)."""
    return ratio(logprobs_M.detach() - old_logprobs_M) * k2(logprobs_M, reference_logprobs_M)


def k3_loss(logprobs_M: Tensor, reference_logprobs_M: Tensor, old_logprobs_M: Tensor) -> Tensor:
    """k3 weighted by ``policy / old``, with the gradient of KL(policy || reference): DeepSeek-V3.2's unbiased KL."""
    return ratio(logprobs_M - old_logprobs_M) * k3(logprobs_M, reference_logprobs_M)


DIVERGENCE_LOSSES: Final[Mapping[str, Callable[..., Tensor]]] = {"k1": k1_loss, "k2": k2_loss, "k3": k3_loss}
