"""How a model is computed on this machine: type of its products, layout of its weights, rows that are sampled at once."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """How a model is computed, chosen once a run and kept when it is resumed."""

    dtype: torch.dtype = torch.float32
    """Type of matrix products, of sampling and of learning."""
    fast: bool = True
    """Whether models of the Llama family take the fast path."""
    packed: bool = False
    """Whether the embedded engine lays weights out for its products: a copy of the weights more."""
    rows: int | None = None
    """Completions that the embedded engine samples side by side; None for all that wait."""
