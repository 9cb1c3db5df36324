"""Draw tokens: a pure function of logits and of one uniform number a row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from reasonrl.engines import SamplingParams

LARGEST_BLOCK: Final = 256
"""Most tokens of the vocabulary whose probabilities are added up in float32."""

SMALLEST_BLOCK: Final = 32
"""Fewest, where the vocabulary is so divisible; else it is filled up."""


def request_uniforms(seeds: Sequence[int], num_tokens: int) -> Tensor:
    """Return the uniform numbers ``[len(seeds), num_tokens]`` of every request's own stream, in float64.

    A request's numbers depend on its seed alone, so its completion does not depend on what else is sampled
    beside it. They have 48 binary places: a float32 has 24, too few for a token in ten million.
    """
    return torch.stack([_uniforms(seed, num_tokens) for seed in seeds])


def _uniforms(seed: int, num_tokens: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse, fine = (torch.rand(num_tokens, generator=generator).double() for _ in range(2))
    return coarse + fine * 2**-24


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawParams:
    """How tokens are drawn in each row; None where no row asks for it, so that nothing is computed for it."""

    temperatures_N1: Tensor | None = None
    """1 in greedy rows."""
    greedy_N: Tensor | None = None
    """Whether a row takes its likeliest token."""
    nucleus_R: Tensor | None = None
    """Rows that draw from a nucleus."""
    top_ps_R1: Tensor | None = None

    @classmethod
    def of(cls, params: Sequence[SamplingParams], device: torch.device) -> Self:
        """Return those of rows with these parameters.

        Temperature 0 takes the likeliest token, with its log-probability at temperature 1, whatever ``top_p`` is.
        """
        temperatures, greedy = [each.temperature or 1.0 for each in params], [not each.temperature for each in params]
        nucleus = [row for row, each in enumerate(params) if each.temperature and each.top_p < 1]
        top_ps = [params[row].top_p for row in nucleus]
        return cls(
            temperatures_N1=torch.tensor(temperatures)[:, None].to(device) if set(temperatures) != {1.0} else None,
            greedy_N=torch.tensor(greedy).to(device) if any(greedy) else None,
            nucleus_R=torch.tensor(nucleus).to(device) if nucleus else None,
            top_ps_R1=torch.tensor(top_ps, dtype=torch.float64)[:, None].to(device) if nucleus else None,
        )


def draw(logits_NV: Tensor, uniforms_N: Tensor, params: DrawParams) -> tuple[Tensor, Tensor]:
    """Return a token for each row and its log-probability under what it was drawn from."""
    logits_NV = _tempered(logits_NV, params)
    probs_NV = logits_NV.softmax(-1)
    if params.nucleus_R is not None and params.top_ps_R1 is not None:
        probs_NV = probs_NV.index_copy(0, params.nucleus_R, nucleus(probs_NV[params.nucleus_R], params.top_ps_R1))
    tokens_N, totals_N1 = pick(probs_NV, uniforms_N)
    if params.greedy_N is not None:
        tokens_N = torch.where(params.greedy_N, logits_NV.argmax(-1), tokens_N)
    chosen_N1 = probs_NV.gather(-1, tokens_N[:, None]).double()
    return tokens_N, (chosen_N1.log() - totals_N1.log())[:, 0].float()


def entropies(logits_NV: Tensor, params: DrawParams) -> Tensor:
    """Return the entropy of each row in nats, under its temperature and before any nucleus."""
    entropies_NV: Tensor = torch.special.entr(_tempered(logits_NV, params).softmax(-1))
    return entropies_NV.sum(-1)


def _tempered(logits_NV: Tensor, params: DrawParams) -> Tensor:
    logits_NV = logits_NV.float()
    return logits_NV if params.temperatures_N1 is None else logits_NV / params.temperatures_N1


def pick(probs_NV: Tensor, uniforms_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each row the first token whose cumulative probability exceeds the uniform number, and the row's sum.

    Inverse-CDF sampling. Probabilities need not sum to 1. They are added up in float32 within blocks of the
    vocabulary and in float64 over the blocks, then in float64 within the block that is hit: a sum in float32 over the
    whole vocabulary would lose what is small beside what came before it. One pass over the vocabulary.

    Args:
        probs_NV: float32.
        uniforms_N: float64, from 0 to below 1.
    """
    vocabulary = probs_NV.shape[1]
    size = math.gcd(vocabulary, LARGEST_BLOCK)
    if size < SMALLEST_BLOCK:
        size = LARGEST_BLOCK
        probs_NV = pad(probs_NV, (0, -vocabulary % size))
    probs_NBK = probs_NV.view(len(probs_NV), -1, size)
    block_N1, share_N1, totals_N1 = _hit(probs_NBK.sum(-1).double(), uniforms_N[:, None])
    inside_NK = probs_NBK.gather(1, block_N1[:, :, None].expand(-1, -1, size))[:, 0].double()
    place_N1, _, _ = _hit(inside_NK, share_N1)
    return (block_N1 * size + place_N1)[:, 0].clamp(max=vocabulary - 1), totals_N1


def _hit(weights_NK: Tensor, shares_N1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first entry up to which weights sum to more than a share of them all, and all together.

    An entry without weight is never returned, whatever rounding makes of the share. Also returned is the share of the
    entry's own weight that is below.
    """
    ends_NK = weights_NK.cumsum(-1)
    totals_N1 = ends_NK[:, -1:]
    thresholds_N1 = (shares_N1 * totals_N1).minimum(totals_N1.nextafter(torch.zeros_like(totals_N1)))
    entry_N1 = torch.searchsorted(ends_NK, thresholds_N1, right=True).clamp(max=weights_NK.shape[1] - 1)
    before_N1 = pad(ends_NK, (1, 0)).gather(1, entry_N1)
    return entry_N1, (thresholds_N1 - before_N1) / weights_NK.gather(1, entry_N1), totals_N1


def nucleus(probs_NV: Tensor, top_ps_N1: Tensor) -> Tensor:
    """Return the probabilities of the fewest likeliest tokens that have ``top_p`` together (arXiv:1904.09751).

    The others get 0; what is left is not divided by its sum. At least one token is left.
    """
    sorted_NV, order_NV = probs_NV.sort(dim=-1, descending=True, stable=True)
    ends_NV = sorted_NV.cumsum(-1, dtype=torch.float64)
    kept_NV = ends_NV - sorted_NV < top_ps_N1 * ends_NV[:, -1:]
    kept_NV[:, 0] = True
    return torch.zeros_like(probs_NV).scatter(-1, order_NV, sorted_NV * kept_NV)
