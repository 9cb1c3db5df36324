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
RatioCap: TypeAlias = Annotated[float, Field(gt=1)]
"""Greatest ratio that weighs a token."""
LogClip: TypeAlias = Annotated[float, Field(gt=0)]
"""Greatest distance of a log-ratio from 0."""

MIN_REST: Final = 1e-8
"""Least probability of all other tokens: with none at all left a divergence would be infinite."""


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
    ratio_cap: RatioCap,
) -> Tensor:
    """``-min(ratio, ratio_cap) * A * logprob`` with the ratio held constant (CISPO, arXiv:2506.13585).

    No token loses its gradient, however far the policy moved. The cap is on the ratio itself, so it is above 1.
    """
    ratio_M = ratio(logprobs_M - old_logprobs_M).clamp(max=ratio_cap).detach()
    return -ratio_M * advantages_M * logprobs_M


def gmpo(
    logprobs_M: Tensor,
    old_logprobs_M: Tensor,
    advantages_M: Tensor,
    lengths_N: Tensor,
    *,
    log_clip_low: LogClip,
    log_clip_high: LogClip,
) -> Tensor:
    """``-s * A`` with s the geometric mean of a sequence's clipped ratios (GMPO, arXiv:2507.20673).

    Each token's log-ratio is clipped before the mean, and on the pessimistic side only: from above at
    ``log_clip_high`` where A > 0, from below at ``-log_clip_low`` elsewhere. A token that is clipped has no gradient of
    its own, and the others keep theirs. Each token carries its sequence's loss, so that ``sequence_mean`` gives the
    paper's objective.
    """
    log_ratio_M = logprobs_M - old_logprobs_M
    clipped_M = log_ratio_M.clamp(max=log_clip_high).where(advantages_M > 0, log_ratio_M.clamp(min=-log_clip_low))
    ratio_N = ratio(sequence_means(clipped_M, lengths_N))
    return -to_tokens(ratio_N, lengths_N, len(logprobs_M)) * advantages_M


def sapo(
    logprobs_M: Tensor,
    old_logprobs_M: Tensor,
    advantages_M: Tensor,
    *,
    temperature_positive: Annotated[float, Field(gt=0)],
    temperature_negative: Annotated[float, Field(gt=0)],
) -> Tensor:
    """``-sigmoid(t * (ratio - 1)) * 4 / t * A``: a gate in place of a clip (SAPO, arXiv:2511.20347).

    The gradient is that of the policy gradient times ``4 p (1 - p)`` with ``p = sigmoid(t * (ratio - 1))``: 1 at a
    ratio of 1, and less on either side of it. t is ``temperature_positive`` where A > 0, else
    ``temperature_negative``.
    """
    ratio_M = ratio(logprobs_M - old_logprobs_M)

    def gate(temperature: float) -> Tensor:
        return (temperature * (ratio_M - 1)).sigmoid() * (4 / temperature)

    return -gate(temperature_positive).where(advantages_M > 0, gate(temperature_negative)) * advantages_M


def dppo_tv(
    logprobs_M: Tensor,
    old_logprobs_M: Tensor,
    sampler_logprobs_M: Tensor,
    advantages_M: Tensor,
    *,
    threshold_low: Annotated[float, Field(gt=0, le=1)],
    threshold_high: Annotated[float, Field(gt=0, le=1)],
    ratio_cap: RatioCap = 20.0,
) -> Tensor:
    """The policy gradient of tokens whose probability is near the sampler's (DPPO-Binary-TV, arXiv:2602.04879).

    The distance is the total variation between sampled and not sampled, ``|policy - sampler|``. Left out are tokens
    with A > 0 whose probability rose by more than ``threshold_high``, and tokens with A < 0 whose probability fell by
    more than ``threshold_low``. The ratio that weighs the others is held constant and capped at ``ratio_cap``.
    """
    rise_M = logprobs_M.detach().exp() - sampler_logprobs_M.exp()
    is_far_M = (rise_M > threshold_high).where(advantages_M > 0, rise_M < -threshold_low)
    return _near(logprobs_M, old_logprobs_M, advantages_M, is_far_M, ratio_cap)


def dppo_kl(
    logprobs_M: Tensor,
    old_logprobs_M: Tensor,
    sampler_logprobs_M: Tensor,
    advantages_M: Tensor,
    *,
    threshold_low: Annotated[float, Field(gt=0)],
    threshold_high: Annotated[float, Field(gt=0)],
    ratio_cap: RatioCap = 20.0,
) -> Tensor:
    """:func:`dppo_tv` with another distance: ``KL(sampler || policy)`` between sampled and not sampled.

    DPPO-Binary-KL (arXiv:2602.04879): ``q log(q / p) + (1 - q) log((1 - q) / (1 - p))`` in nats, with q the sampler's
    probability of the token and p the policy's.
    """
    new_M = logprobs_M.detach()
    rest_M, sampler_rest_M = (-x_M.expm1() for x_M in (new_M, sampler_logprobs_M))
    log_rest_M = (sampler_rest_M.clamp(min=MIN_REST) / rest_M.clamp(min=MIN_REST)).log()
    kl_M = sampler_logprobs_M.exp() * (sampler_logprobs_M - new_M) + sampler_rest_M * log_rest_M
    rose_M, fell_M = new_M > sampler_logprobs_M, new_M < sampler_logprobs_M
    is_far_M = (rose_M & (kl_M > threshold_high)).where(advantages_M > 0, fell_M & (kl_M > threshold_low))
    return _near(logprobs_M, old_logprobs_M, advantages_M, is_far_M, ratio_cap)


def _near(
    logprobs_M: Tensor, old_logprobs_M: Tensor, advantages_M: Tensor, is_far_M: Tensor, ratio_cap: float
) -> Tensor:
    """``-min(ratio, ratio_cap) * A * logprob`` with the ratio held constant; 0 for tokens that are far."""
    return cispo(logprobs_M, old_logprobs_M, advantages_M.masked_fill(is_far_M, 0.0), ratio_cap=ratio_cap)


def _pessimistic(ratio_M: Tensor, advantages_M: Tensor, clip_low: float, clip_high: float) -> Tensor:
    clipped_M = ratio_M.clamp(1 - clip_low, 1 + clip_high)
    return -(ratio_M * advantages_M).minimum(clipped_M * advantages_M)


LOSSES: Final[Mapping[str, Callable[..., Tensor]]] = {
    "clipped_surrogate": clipped_surrogate,
    "gspo": gspo,
    "cispo": cispo,
    "gmpo": gmpo,
    "sapo": sapo,
    "dppo_tv": dppo_tv,
    "dppo_kl": dppo_kl,
    "policy_gradient": policy_gradient,
}
