"""The general way to compute what comes next: the module's own forward pass over its own kind of cache."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache, PreTrainedModel

from reasonrl.engines.cache import can_join, join, with_capacity
from reasonrl.engines.limits import position_limit
from reasonrl.models.hardware import autocast

SIMILAR: Final = 1.25
"""Prompts are computed together where the longest is so many times as long as the shortest."""

MIN_GROUP: Final = 4
"""Requests that are computed together whatever their lengths."""


@dataclass(slots=True, eq=False)
class _Computed:
    """What is computed of rows whose prompts are filled up on the left."""

    cache: Cache
    mask_NT: Tensor
    """1 where a row has a token, 0 where it is filled up."""
    logits_NV: Tensor
    """Of each row's next token."""
    left: list[int]
    """Tokens that may still come in each row."""

    def add(self, newcomers: "_Computed") -> None:
        """Put other rows below these; columns that no row of either uses are dropped."""
        length = max(_used(self.mask_NT), _used(newcomers.mask_NT))
        self.left = self.left + newcomers.left
        join(self.cache, newcomers.cache, length=length, num_new_tokens=max(self.left))
        self.mask_NT = torch.cat([_aligned(self.mask_NT, length), _aligned(newcomers.mask_NT, length)])
        self.logits_NV = torch.cat([self.logits_NV, newcomers.logits_NV])


class ModuleDecoder:
    """Computes what comes next with any decoder-only transformers model; see :class:`..local_batch.Decoder`.

    Args:
        model: the module.
        dtype: type of matrix products.
    """

    keep_below = 0.75

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype) -> None:
        model.train(False)
        self._model = model
        self._dtype = dtype
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters
        self._limit = position_limit(model.config)
        self._rows: _Computed | None = None
        self._joining: _Computed | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether no row can join, because of what the model keeps of a row."""
        return self._rows is not None and not can_join(self._rows.cache)

    def num_columns(self, prompt: int, new: int) -> int:
        """Return how many columns there are at most if rows join; all rows are as wide as the widest."""
        if self._rows is None:
            return prompt + new
        return max(self._rows.mask_NT.shape[1], prompt) + max(*self._rows.left, new)

    def add(self, prompts: Sequence[tuple[int, ...]], limits: Sequence[int]) -> None:
        """Compute prompts, each run of equal ones once, and beside those of similar length."""
        left = [limit - len(prompt) for prompt, limit in zip(prompts, limits, strict=True)]
        first, *others = _by_length(prompts)
        computed = self._prompts(prompts[first], left[first])
        if others and not can_join(computed.cache):
            self._joining = self._prompts(prompts, left)
            return
        for group in others:
            computed.add(self._prompts(prompts[group], left[group]))
        self._joining = computed

    @torch.no_grad()
    def step(self, tokens_N: Tensor) -> Tensor:
        """Return the logits of the next tokens; rows that have joined have theirs from their prompts."""
        rows, joining, self._joining = self._rows, self._joining, None
        if rows is not None:
            ids_N1, mask_NT = tokens_N[: len(rows.left), None], pad(rows.mask_NT, (0, 1), value=1)
            cache, logits_NV = self._forward(ids_N1, mask_NT, rows.cache)
            rows = _Computed(cache, mask_NT, logits_NV, [max(left - 1, 0) for left in rows.left])
        if rows is not None and joining is not None:
            rows.add(joining)
        self._rows = rows or joining
        assert self._rows is not None, "there is a row"
        return self._rows.logits_NV

    def keep(self, order: Sequence[int]) -> None:
        """Keep the rows at these positions, in this order: a copy of all their keys and values."""
        assert self._rows is not None, "there is a row"
        rows, order_N = self._rows, torch.tensor(order, dtype=torch.long, device=self._model.device)
        rows.cache.reorder_cache(order_N)  # type: ignore[arg-type]  # a LongTensor is a Tensor of int64
        rows.mask_NT, rows.left = rows.mask_NT[order_N], [rows.left[index] for index in order]

    @torch.no_grad()
    def _prompts(self, prompts: Sequence[tuple[int, ...]], left: list[int]) -> _Computed:
        runs = [(prompt, len(list(run))) for prompt, run in groupby(prompts)]
        prompt_N = torch.arange(len(runs)).repeat_interleave(torch.tensor([length for _, length in runs]))
        longest = max(len(prompt) for prompt, _ in runs)
        ids_PT = torch.tensor([(*(0,) * (longest - len(prompt)), *prompt) for prompt, _ in runs])
        lengths_P = torch.tensor([len(prompt) for prompt, _ in runs])
        mask_PT = (torch.arange(longest) >= (longest - lengths_P)[:, None]).long()
        ids_PT, mask_PT, prompt_N = (each.to(self._model.device) for each in (ids_PT, mask_PT, prompt_N))
        cache, logits_PV = self._forward(ids_PT, mask_PT, None)
        with_capacity(cache, prompt_N, max(left))
        return _Computed(cache, mask_PT[prompt_N], logits_PV[prompt_N], left)

    def _forward(self, ids_NT: Tensor, mask_NT: Tensor, cache: Cache | None) -> tuple[Cache, Tensor]:
        """Run the model on new tokens; return the cache and the logits after the last one."""
        # A finished row may stay in the batch beyond its last token, and no position is beyond the model's.
        last = None if self._limit is None else self._limit - 1
        positions_NT = (mask_NT.cumsum(dim=1) - 1).clamp(min=0, max=last)[:, -ids_NT.shape[1] :]
        with autocast(self._model.device, self._dtype):
            output = self._model(
                input_ids=ids_NT,
                attention_mask=mask_NT,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                **({"position_ids": positions_NT} if self._takes_positions else {}),
            )
        return output.past_key_values, output.logits[:, -1]


def _by_length(prompts: Sequence[tuple[int, ...]]) -> list[slice]:
    """Return groups of prompts, given in the order of their lengths, that are about as long."""
    starts = [0]
    for index, prompt in enumerate(prompts):
        if len(prompt) > SIMILAR * len(prompts[starts[-1]]) and index - starts[-1] >= MIN_GROUP:
            starts.append(index)
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(prompts)], strict=True)]


def _used(mask_NT: Tensor) -> int:
    """Return how many columns there are from the first that a row uses."""
    return mask_NT.shape[1] - int(mask_NT.any(dim=0).int().argmax())


def _aligned(mask_NT: Tensor, length: int) -> Tensor:
    missing = length - mask_NT.shape[1]
    return pad(mask_NT, (missing, 0)) if missing > 0 else mask_NT[:, -length:]
