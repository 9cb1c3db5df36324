"""Per-token estimates of KL(policy || reference) from samples of the policy (Schulman 2020, "Approximating KL").

What is a good estimate is not always a good loss: k1 has zero expected gradient, and plain k3 follows
KL(reference || policy). As a loss use :func:`k2`, or k3 weighted by the ratio, :func:`k3_loss`.
"""

from torch import Tensor


def k1(logprobs_NT: Tensor, reference_logprobs_NT: Tensor) -> Tensor:
    """``log(policy / reference)``: unbiased, may be negative. Belongs in the reward."""
    return logprobs_NT - reference_logprobs_NT


def k2(logprobs_NT: Tensor, reference_logprobs_NT: Tensor) -> Tensor:
    """Half the squared log-ratio: its expected gradient is that of KL(policy || reference)."""
    return k1(logprobs_NT, reference_logprobs_NT).square() / 2


def k3(logprobs_NT: Tensor, reference_logprobs_NT: Tensor) -> Tensor:
    """``r - 1 - log r`` with ``r = reference / policy``: unbiased and never negative. The one to report."""
    log_ratio_NT = reference_logprobs_NT - logprobs_NT
    return log_ratio_NT.expm1() - log_ratio_NT


def k3_loss(logprobs_NT: Tensor, reference_logprobs_NT: Tensor) -> Tensor:
    """k3 weighted by ``policy / policy.detach()``: k3's value with the gradient of KL(policy || reference)."""
    weight_NT = (logprobs_NT - logprobs_NT.detach()).exp()
    return weight_NT * k3(logprobs_NT, reference_logprobs_NT)


DIVERGENCE_LOSSES = {"k2": k2, "k3": k3_loss}
