"""Reductions: how the token losses of one optimizer update become one number.

Each returns the weight of every token of a sequence, so that the loss is a plain weighted sum of token losses
and does not depend on how the update is cut into micro-batches. ``lengths_N`` counts the tokens of every
completion of the update, those that teach nothing included.
"""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor


def token_mean(lengths_N: Tensor, *, max_new_tokens: int | Tensor) -> Tensor:
    """Every token counts the same: 1 / all tokens of the update (DAPO, arXiv:2503.14476)."""
    return (1.0 / lengths_N.sum().clamp(min=1)).expand_as(lengths_N)


def sequence_mean(lengths_N: Tensor, *, max_new_tokens: int | Tensor) -> Tensor:
    """Every sequence counts the same: 1 / (N * its tokens) (GRPO, arXiv:2402.03300)."""
    return 1.0 / (len(lengths_N) * lengths_N.clamp(min=1))


def fixed_length(lengths_N: Tensor, *, max_new_tokens: int | Tensor) -> Tensor:
    """Every token counts 1 / (N * max_new_tokens), whatever was sampled (Dr. GRPO, arXiv:2503.20783).

    Args:
        lengths_N: tokens of each completion.
        max_new_tokens: the limit of all of them, or of each [N].
    """
    limits_N = torch.as_tensor(max_new_tokens, device=lengths_N.device).expand_as(lengths_N)
    return (1.0 / (len(lengths_N) * limits_N.double())).float()


REDUCTIONS: Final[Mapping[str, Callable[..., Tensor]]] = {
    "token_mean": token_mean,
    "sequence_mean": sequence_mean,
    "fixed_length": fixed_length,
}
