"""Sampling's part of the fast path: prompts are computed once, then one token of every row at a time.

Nothing here asks the device for a value, so that a GPU is never waited for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import gelu, rms_norm, scaled_dot_product_attention, silu

from reasonrl.models.fast.family import Family, Layer
from reasonrl.models.fast.slots import Slots, padded_columns
from reasonrl.models.fast.weights import CastWeights

PROMPT_TOKENS: Final = 4096
"""Most tokens of prompts that are computed at once, filled up to the longest; a longer prompt is computed alone."""


@dataclass(slots=True)
class _Row:
    prompt: tuple[int, ...]
    length: int
    """Tokens whose keys and values are there."""
    limit: int
    """Most tokens of it."""


class SlotDecoder:
    """Computes what comes next in rows that join and leave at any time.

    A row begins with its prompt but for the last token, which the next step computes. Rows with the prompt of another
    one, also of one that has begun long before, get a copy of its keys and values.

    Args:
        family: the model.
        weights: of its products; refreshed by the owner where they have moved.
    """

    is_fixed = False
    keep_below = 1.0

    def __init__(self, family: Family, weights: CastWeights) -> None:
        self._family = family
        self._weights = weights
        self._slots = Slots(family, weights.dtype)
        self._rows: list[_Row] = []
        device = family.model.device
        self._positions_N = torch.zeros(0, dtype=torch.long, device=device)
        """Of the token that comes next in each row."""
        self._last_N = torch.zeros(0, dtype=torch.long, device=device)
        """The last position of each row: one that is sampled beyond its end writes there again and again."""
        self._cos_T1D, self._sin_T1D = torch.empty(0), torch.empty(0)

    def num_columns(self, prompt: int, new: int) -> int:
        """Return how many tokens each row will have memory for at most, if rows join.

        Args:
            prompt: tokens of the longest prompt among them.
            new: tokens of the longest completion among them.
        """
        return padded_columns(max([prompt + new, *(row.limit for row in self._rows)]))

    @torch.no_grad()
    def add(self, prompts: Sequence[tuple[int, ...]], limits: Sequence[int]) -> None:
        """Add rows behind the others.

        Args:
            prompts: their tokens.
            limits: most tokens of each row, those of the prompt included.
        """
        first = len(self._rows)
        self._rows += [_Row(prompt, len(prompt) - 1, limit) for prompt, limit in zip(prompts, limits, strict=True)]
        self._reserve()
        row_of: dict[tuple[int, ...], int] = {}
        for index, row in enumerate(self._rows):
            row_of.setdefault(row.prompt, index)
        for chunk in _chunks([prompt for prompt, row in row_of.items() if row >= first and len(prompt) > 1]):
            self._compute(chunk, [row_of[prompt] for prompt in chunk])
        self._copy({index: row_of[self._rows[index].prompt] for index in range(first, len(self._rows))})
        positions_R2 = torch.tensor([(row.length, row.limit - 1) for row in self._rows[first:]]).to(self._positions_N)
        self._positions_N = torch.cat([self._positions_N, positions_R2[:, 0]])
        self._last_N = torch.cat([self._last_N, positions_R2[:, 1]])

    @torch.no_grad()
    def step(self, tokens_N: Tensor) -> Tensor:
        """Compute the next token of each row; return the logits after it, [rows, vocabulary] in float32.

        A row that has as many tokens as it may is computed all the same, and what comes of it means nothing.
        """
        self._reserve()
        num_columns = max(row.length for row in self._rows) + 1
        family, positions_N = self._family, self._positions_N
        rows_N = torch.arange(len(tokens_N), device=tokens_N.device)
        rotary = self._cos_T1D[positions_N], self._sin_T1D[positions_N]
        hidden_NT = torch.arange(num_columns, device=tokens_N.device) > positions_N[:, None]
        bias_NT = torch.zeros_like(hidden_NT, dtype=self._weights.dtype).masked_fill_(hidden_NT, -torch.inf)
        x_ND = family.embedding(tokens_N).float()
        for index, layer in enumerate(family.layers):
            heads_NHD = self._heads(layer, x_ND, *rotary)
            self._slots.write(index, rows_N, positions_N, heads_NHD[:, family.num_heads :])
            keys, values = self._slots.read(index, len(tokens_N), num_columns)
            # The query heads of a group stand where attention has tokens, so that no key or value is copied for them.
            queries = heads_NHD[:, : family.num_heads].reshape(len(tokens_N), family.num_kv_heads, -1, family.head_dim)
            attended = scaled_dot_product_attention(queries, keys, values, bias_NT[:, None, None])
            self._finish(layer, x_ND, attended.flatten(1))
        for row in self._rows:
            row.length = min(row.length + 1, row.limit - 1)
        self._positions_N = torch.minimum(positions_N + 1, self._last_N)
        return self._weights.product(family.head, self._norm(family.final_norm, x_ND))

    @torch.no_grad()
    def keep(self, order: Sequence[int]) -> None:
        """Keep the rows at these positions, in this order; few of them should change their place."""
        rows = self._rows
        self._rows = [rows[index] for index in order]
        order_N = torch.tensor(order, dtype=torch.long).to(self._positions_N)
        self._copy({place: index for place, index in enumerate(order) if place != index})
        self._positions_N, self._last_N = self._positions_N[order_N], self._last_N[order_N]

    def _reserve(self) -> None:
        before = self._slots.num_columns
        self._slots.reserve(len(self._rows), max(row.length for row in self._rows) + 1)
        if self._slots.num_columns != before:
            positions_T = torch.arange(self._slots.num_columns, device=self._positions_N.device)
            cos_T1D, sin_T1D = self._family.rotary(positions_T)
            self._cos_T1D, self._sin_T1D = torch.cat([cos_T1D, cos_T1D], -1), torch.cat([-sin_T1D, sin_T1D], -1)

    def _copy(self, source_of_row: dict[int, int]) -> None:
        """Copy keys and values of rows to others."""
        pairs = [(source, row) for row, source in source_of_row.items() if source != row]
        if pairs:
            num_columns = max(self._rows[row].length for _, row in pairs)
            pairs_R2 = torch.tensor(pairs).to(self._positions_N)
            self._slots.copy(pairs_R2[:, 0], pairs_R2[:, 1], num_columns)

    def _compute(self, prompts: Sequence[tuple[int, ...]], rows: Sequence[int]) -> None:
        """Compute the keys and values of prompts but for their last tokens.

        Products have no padding; attention fills up prompts at the right, where causality hides it from every token.
        """
        family, device = self._family, self._positions_N.device
        lengths = [len(prompt) - 1 for prompt in prompts]
        shape = (len(prompts), max(lengths))
        positions_M = torch.cat([torch.arange(length) for length in lengths])
        places_M = positions_M + torch.arange(len(prompts)).repeat_interleave(torch.tensor(lengths)) * shape[1]
        ids_M = torch.tensor([token for prompt in prompts for token in prompt[:-1]])
        ids_M, positions_M, places_M = (each.to(device) for each in (ids_M, positions_M, places_M))
        rows_P = torch.tensor(rows).to(device)
        x_MD, rotary = family.embedding(ids_M).float(), (self._cos_T1D[positions_M], self._sin_T1D[positions_M])
        for index, layer in enumerate(family.layers):
            heads_MHD = self._heads(layer, x_MD, *rotary)
            heads = heads_MHD.new_zeros(shape[0] * shape[1], *heads_MHD.shape[1:])
            heads = heads.index_copy_(0, places_M, heads_MHD).view(*shape, *heads_MHD.shape[1:])
            self._slots.fill(index, rows_P, heads[:, :, family.num_heads :])
            sizes = [family.num_heads, family.num_kv_heads, family.num_kv_heads]
            queries, keys, values = (each.transpose(1, 2) for each in torch.split(heads, sizes, dim=2))
            attended = scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
            self._finish(layer, x_MD, attended.transpose(1, 2).flatten(0, 1)[places_M].flatten(1))

    def _heads(self, layer: Layer, x_MD: Tensor, cos_M1D: Tensor, sin_M1D: Tensor) -> Tensor:
        """Return queries, keys and values [tokens, heads, head size], the first two turned by position."""
        num_heads, num_turned = self._family.num_heads, self._family.num_heads + self._family.num_kv_heads
        heads_MHD = self._weights.product(layer.qkv, self._norm(layer.attention_norm, x_MD))
        heads_MHD = heads_MHD.view(len(x_MD), -1, self._family.head_dim)
        turned_MHD = heads_MHD[:, :num_turned]
        if layer.query_norm is not None and layer.key_norm is not None:
            queries, keys = torch.split(turned_MHD.float(), [num_heads, num_turned - num_heads], dim=1)
            turned_MHD = torch.cat([self._norm(layer.query_norm, queries), self._norm(layer.key_norm, keys)], dim=1)
        half = self._family.head_dim // 2
        heads_MHD[:, :num_turned] = torch.addcmul(turned_MHD * cos_M1D, turned_MHD.roll(half, -1), sin_M1D)
        return heads_MHD

    def _finish(self, layer: Layer, x_MD: Tensor, attended_MD: Tensor) -> None:
        """Add what attention and the feed-forward network give to the states, which stay in float32."""
        x_MD += self._weights.product(layer.output, attended_MD)
        gate_MF, up_MF = self._weights.product(layer.gate_up, self._norm(layer.mlp_norm, x_MD)).chunk(2, dim=-1)
        active_MF = silu(gate_MF) if self._family.activation == "silu" else gelu(gate_MF, approximate="tanh")
        x_MD += self._weights.product(layer.down, active_MF.mul_(up_MF))

    def _norm(self, norm: Any, x: Tensor) -> Tensor:
        """Norm the last axis. Any: each architecture has a class of its own."""
        weight_D: Tensor = norm.weight.float()
        if self._family.norm_offset:
            weight_D = weight_D + self._family.norm_offset
        return rms_norm(x, x.shape[-1:], weight_D, self._family.norm_epsilon)


def _chunks(prompts: Sequence[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Return prompts in groups of similar length that are computed together."""
    chunks: list[list[tuple[int, ...]]] = []
    for prompt in sorted(prompts, key=len):
        if not chunks or (len(chunks[-1]) + 1) * len(prompt) > PROMPT_TOKENS:
            chunks.append([])
        chunks[-1].append(prompt)
    return chunks
