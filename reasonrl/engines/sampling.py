"""Draw tokens: a pure function of logits and of one uniform number a row."""

import torch
from torch import Tensor


def request_uniforms(seeds: list[int], num_tokens: int) -> Tensor:
    """Return the uniform numbers ``[len(seeds), num_tokens]`` of every request's own stream.

    A request's numbers depend on its seed alone, so its completion does not depend on what else is sampled
    beside it.
    """
    return torch.stack([torch.rand(num_tokens, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def draw(logits_NV: Tensor, uniforms_N: Tensor, temperature: float, top_p: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return a token for each row and its log-probability under what it was drawn from.

    Inverse-CDF sampling: the first token whose cumulative probability exceeds the uniform number. Temperature 0
    takes the likeliest token, with its log-probability at temperature 1, whatever ``top_p`` is.
    """
    if temperature == 0:
        logprobs_NV = logits_NV.float().log_softmax(-1)
        tokens_N = logprobs_NV.argmax(-1)
    else:
        logprobs_NV = (logits_NV.float() / temperature).log_softmax(-1)
        if top_p < 1:
            logprobs_NV = nucleus(logprobs_NV, top_p)
        cumulative_NV = logprobs_NV.exp().cumsum(-1)
        totals_N1 = cumulative_NV[:, -1:]
        # Below the total even after rounding: a token without probability is never drawn.
        below_N1 = totals_N1.nextafter(torch.zeros_like(totals_N1))
        thresholds_N1 = (uniforms_N[:, None].to(cumulative_NV) * totals_N1).minimum(below_N1)
        tokens_N = torch.searchsorted(cumulative_NV, thresholds_N1, right=True)[:, 0]
        tokens_N = tokens_N.clamp(max=logits_NV.shape[-1] - 1)
    return tokens_N, logprobs_NV.gather(-1, tokens_N[:, None])[:, 0]


def nucleus(logprobs_NV: Tensor, top_p: float) -> Tensor:
    """Return the log-probabilities of the fewest likeliest tokens that have ``top_p`` together (arXiv:1904.09751).

    The others get -inf, and what is left sums to 1 again. At least one token is left.
    """
    sorted_NV, order_NV = logprobs_NV.sort(dim=-1, descending=True)
    before_NV = sorted_NV.exp().cumsum(-1) - sorted_NV.exp()
    before_NV[:, 0] = 0.0
    kept_NV = torch.zeros_like(before_NV, dtype=torch.bool).scatter(-1, order_NV, before_NV < top_p)
    return logprobs_NV.masked_fill(~kept_NV, float("-inf")).log_softmax(-1)
