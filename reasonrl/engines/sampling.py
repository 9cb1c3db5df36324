"""Draw tokens: a pure function of logits and of one uniform number a row."""

import torch
from torch import Tensor


def request_uniforms(seeds: list[int], num_tokens: int) -> Tensor:
    """Return the uniform numbers ``[len(seeds), num_tokens]`` of every request's own stream.

    A request's numbers depend on its seed alone, so its completion does not depend on what else is sampled
    beside it.
    """
    return torch.stack([torch.rand(num_tokens, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def draw(logits_NV: Tensor, uniforms_N: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return a token for each row and its log-probability under the temperature.

    Inverse-CDF sampling: the first token whose cumulative probability exceeds the uniform number. Temperature 0
    takes the likeliest token, with its log-probability at temperature 1.
    """
    if temperature == 0:
        logprobs_NV = logits_NV.float().log_softmax(-1)
        tokens_N = logprobs_NV.argmax(-1)
    else:
        logprobs_NV = (logits_NV.float() / temperature).log_softmax(-1)
        cumulative_NV = logprobs_NV.exp().cumsum(-1)
        totals_N1 = cumulative_NV[:, -1:]
        # Below the total even after rounding: a token without probability is never drawn.
        below_N1 = totals_N1.nextafter(torch.zeros_like(totals_N1))
        thresholds_N1 = (uniforms_N[:, None].to(cumulative_NV) * totals_N1).minimum(below_N1)
        tokens_N = torch.searchsorted(cumulative_NV, thresholds_N1, right=True)[:, 0]
        tokens_N = tokens_N.clamp(max=logits_NV.shape[-1] - 1)
    return tokens_N, logprobs_NV.gather(-1, tokens_N[:, None])[:, 0]
