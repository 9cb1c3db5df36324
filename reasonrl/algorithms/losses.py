"""Policy losses: log-probabilities and advantages per token in, a loss per token out.

Masks and averages are not the business of a loss: see :mod:`reasonrl.algorithms.reductions`.
"""

from torch import Tensor


def clipped_surrogate(
    logprobs_NT: Tensor, old_logprobs_NT: Tensor, advantages_NT: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """PPO's pessimistic surrogate, as a loss (arXiv:1707.06347, equation 7; GRPO, arXiv:2402.03300).

    ``-min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A)`` with ``ratio = exp(logprob - old)``.
    """
    ratio_NT = (logprobs_NT - old_logprobs_NT).exp()
    clipped_NT = ratio_NT.clamp(1 - clip_low, 1 + clip_high)
    return -(ratio_NT * advantages_NT).minimum(clipped_NT * advantages_NT)
