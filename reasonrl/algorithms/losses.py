"""Policy losses: log-probabilities and advantages per token in, a loss per token out.

Tensors hold the M completion tokens of a micro-batch, row after row; ``lengths_N`` says how many each row has.
A loss takes what it names of these tensors; its other parameters are ``algorithm.loss.params`` of the run file, within
the bounds of their types. Masks and averages are not its business: see :mod:`reasonrl.algorithms.reductions`.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeAlias

from pydantic import Field
from torch import Tensor

from reasonrl.algorithms.ratios import ratio
from reasonrl.algorithms.sequences import sequence_means, to_tokens

ClipLow: TypeAlias = Annotated[float, Field(gt=0, le=1)]
"""Distance of the least ratio below 1."""
ClipHigh: TypeAlias = Annotated[float, Field(gt=0)]
"""Distance of the greatest ratio above 1."""


def policy_gradient(logprobs_M: Tensor, old_logprobs_M: Tensor, advantages_M: Tensor) -> Tensor:
    """``-ratio * A`` with ``ratio = exp(logprob - old)``: REINFORCE, importance-weighted after the first update."""
    return -ratio(logprobs_M - old_logprobs_M) * advantages_M


def clipped_surrogate(
    logprobs_M: Tensor,
    old_logprobs_M: Tensor,
    advantages_M: Tensor,
    *,
    clip_low: ClipLow,
    clip_high: ClipHigh,
    dual_clip: Annotated[float, Field(gt=1)] | None = None,
) -> Tensor:
    """PPO's pessimistic surrogate, as a loss (arXiv:1707.06347, equation 7; GRPO, arXiv:2402.03300).

    ``-min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A)`` with ``ratio = exp(logprob - old)``; a higher
    ``clip_high`` is DAPO's clip-higher (arXiv:2503.14476). With ``dual_clip`` = c the loss of a negative advantage
    is at most ``c * |A|``, whatever the ratio (arXiv:1912.09729, equation 5).
    """
    ratio_M = ratio(logprobs_M - old_logprobs_M)
    losses_M = _pessimistic(ratio_M, advantages_M, clip_low, clip_high)
    if dual_clip is None:
        return losses_M
    return losses_M.where(advantages_M >= 0, losses_M.minimum(-dual_clip * advantages_M))


def gspo(
    logprobs_M: Tensor,
    old_logprobs_M: Tensor,
    advantages_M: Tensor,
    lengths_N: Tensor,
    *,
    clip_low: ClipLow,
    clip_high: ClipHigh,
) -> Tensor:
    """The clipped surrogate with one ratio a sequence: the geometric mean of its tokens' (GSPO, arXiv:2507.18071).

    Each token carries its sequence's loss, so that ``sequence_mean`` gives the paper's objective.
    """
    ratio_N = ratio(sequence_means(logprobs_M - old_logprobs_M, lengths_N))
    return _pessimistic(to_tokens(ratio_N, lengths_N, len(logprobs_M)), advantages_M, clip_low, clip_high)


def cispo(
    logprobs_M: Tensor,
    old_logprobs_M: Tensor,
    advantages_M: Tensor,
    *,
    ratio_cap: Annotated[float, Field(gt=1)],
) -> Tensor:
    """``-min(ratio, ratio_cap) * A * logprob`` with the ratio held constant (CISPO, arXiv:2506.13585).

    No token loses its gradient, however far the policy moved. The cap is on the ratio itself, so it is above 1.
    """
    ratio_M = ratio(logprobs_M - old_logprobs_M).clamp(max=ratio_cap).detach()
    return -ratio_M * advantages_M * logprobs_M


def _pessimistic(ratio_M: Tensor, advantages_M: Tensor, clip_low: float, clip_high: float) -> Tensor:
    clipped_M = ratio_M.clamp(1 - clip_low, 1 + clip_high)
    return -(ratio_M * advantages_M).minimum(clipped_M * advantages_M)


LOSSES: Final[Mapping[str, Callable[..., Tensor]]] = {
    "clipped_surrogate": clipped_surrogate,
    "gspo": gspo,
    "cispo": cispo,
    "policy_gradient": policy_gradient,
}
