"""Causal attention over flat tokens in which the continuations of a prompt share its keys and values.

Where there is no kernel for sequences of various lengths, short rows are filled up (`padded.py`), and longer ones are
computed in tiles that stay in a CPU's cache: some queries with some keys. A query's tiles are merged by their
log-sum-exp, from which the backward pass makes the probabilities again (FlashAttention, arXiv:2205.14135), so the
memory of scores does not depend on lengths.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby
from math import isqrt
from typing import Any, Final, TypeAlias, cast

import torch
from torch import Tensor
from torch.autograd import Function

from reasonrl.models.fast.family import Family
from reasonrl.models.fast.layout import Layout
from reasonrl.models.fast.padded import PaddedAttention, fits
from reasonrl.models.fast.weights import multiplied_in

TILE: Final = 2**19
"""Most scores of all heads in a tile: 2 MiB in float32."""

KEYS_PER_QUERY: Final = 4
"""A tile of a long sequence has so many times more keys than queries."""

TOGETHER: Final = 64
"""Tokens of short rows in one tile."""

Attention: TypeAlias = Callable[[Tensor], Tensor]
"""From the heads of queries, keys and values side by side, turned by their positions, to what each token's queries
read, [T, num_heads * head_dim]."""


def attention_over(layout: Layout, family: Family, dtype: torch.dtype) -> Attention:
    """Return attention over the tokens of a layout, laid out once for all layers."""
    if layout.ids_T.device.type == "cuda" and dtype in (torch.bfloat16, torch.float16) and _has_kernel():
        return KernelAttention(layout, family)
    return PaddedAttention(layout, family) if fits(layout) else TiledAttention(layout, family)


def _has_kernel() -> bool:
    """Say whether torch has attention over sequences of various lengths in which heads share keys."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return "enable_gqa" in (varlen_attn.__kwdefaults__ or {})


class KernelAttention:
    """torch's own kernel for sequences of various lengths: each row's keys are its prompt's and its own.

    Args:
        layout: the tokens.
        family: whose heads attend.
    """

    def __init__(self, layout: Layout, family: Family) -> None:
        self._heads = [family.num_heads, family.num_kv_heads, family.num_kv_heads]
        self._head_dim = family.head_dim
        before = [range(0)] * len(layout.prompts) + [layout.prompts[number] for number in layout.prompt_of]
        own = (*layout.prompts, *layout.continuations)
        rows = [(earlier, span) for earlier, span in zip(before, own, strict=True) if span]
        device = layout.ids_T.device
        self._keys = torch.tensor([*chain(*chain(*rows))]).to(device)
        queries, keys = [len(span) for _, span in rows], [len(earlier) + len(span) for earlier, span in rows]
        self._ends = [torch.tensor([0, *accumulate(each)], dtype=torch.int32).to(device) for each in (queries, keys)]
        self._longest = (max(queries), max(keys))

    def __call__(self, z_TE: Tensor) -> Tensor:
        """Return what each token's queries read."""
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = torch.split(z_TE.view(len(z_TE), -1, self._head_dim), self._heads, dim=1)
        k, v = k.index_select(0, self._keys), v.index_select(0, self._keys)
        (queries_end, keys_end), (most_queries, most_keys) = self._ends, self._longest
        # A window of nothing to the right is causal, where the last query stands at the last key.
        settings: dict[str, Any] = {"window_size": (-1, 0), "enable_gqa": True}  # Any: torch's
        read = varlen_attn(q, k, v, queries_end, keys_end, most_queries, most_keys, **settings)
        return cast(Tensor, read).flatten(1)


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """Some queries, and some keys that these may read."""

    queries: slice
    keys: tuple[slice, ...]
    mask: Tensor | None
    """Added to the scores of a key's heads, [heads * Q, K]: hides keys of other rows and later ones; None where there
    are none."""
    is_first: bool
    """Whether its queries have met no other keys before."""


class TiledAttention:
    """Attention tile by tile.

    Short rows share tiles, in which they do not see one another: a token costs at most :data:`TOGETHER` keys too many,
    which is less than what it costs to take rows apart.

    Args:
        layout: the tokens.
        family: whose heads attend.
    """

    def __init__(self, layout: Layout, family: Family) -> None:
        self.num_heads, self.num_kv_heads, self.head_dim = family.num_heads, family.num_kv_heads, family.head_dim
        self._device = layout.ids_T.device
        self._rows = max(1, isqrt(TILE // (KEYS_PER_QUERY * self.num_heads)))
        self._columns = KEYS_PER_QUERY * self._rows
        self.tiles = tuple(self._tiles(layout))

    def __call__(self, z_TE: Tensor) -> Tensor:
        """Return what each token's queries read."""
        return cast(Tensor, _Tiled.apply(z_TE, self))  # type: ignore[no-untyped-call]  # torch

    def _tiles(self, layout: Layout) -> Iterator[Tile]:
        """Yield what lets each prompt attend to itself, and each continuation to its prompt and itself."""
        yield from self._causal(layout.prompts, range(0))
        for number, group in groupby(zip(layout.prompt_of, layout.continuations, strict=True), key=lambda row: row[0]):
            yield from self._causal([span for _, span in group], layout.prompts[number])

    def _causal(self, spans: Sequence[range], before: range) -> Iterator[Tile]:
        """Yield the tiles of rows that stand side by side and have the same tokens before them."""
        for block in self._together([span for span in spans if span]):
            first, end = block[0].start, block[-1].stop
            for start in range(first, end, self._rows):
                queries = slice(start, min(start + self._rows, end))
                begin = max(first, queries.stop - self._columns)
                joined = before if len(before) + queries.stop - begin <= self._columns else range(0)
                rows = block if end - first <= self._rows else [range(start, queries.stop)]
                keys = tuple(slice(each.start, each.stop) for each in (joined, range(begin, queries.stop)) if each)
                yield Tile(queries, keys, self._mask(rows, len(joined) + start - begin), is_first=True)
                yield from self._over(queries, range(first, begin))
                yield from self._over(queries, range(0) if joined else before)

    def _together(self, spans: Sequence[range]) -> Iterator[list[range]]:
        """Yield rows that share tiles; a longer one alone."""
        block: list[range] = []
        for span in spans:
            if block and span.stop - block[0].start > min(TOGETHER, self._rows):
                yield block
                block = []
            block.append(span)
        if block:
            yield block

    def _over(self, queries: slice, keys: range) -> Iterator[Tile]:
        """Yield the tiles of further keys, which all of the queries may read."""
        for begin in range(keys.start, keys.stop, self._columns):
            yield Tile(queries, (slice(begin, min(begin + self._columns, keys.stop)),), None, is_first=False)

    def _mask(self, rows: Sequence[range], num_before: int) -> Tensor:
        """Return minus infinity where a key is of another row, or comes later than the query; not for keys before."""
        row_Q = torch.arange(len(rows)).repeat_interleave(torch.tensor([*map(len, rows)]))
        is_hidden_QQ = torch.ones(len(row_Q), len(row_Q), dtype=torch.bool).triu_(1) | (row_Q[:, None] != row_Q)
        mask_QK = torch.zeros(len(row_Q), num_before + len(row_Q))
        mask_QK[:, num_before:].masked_fill_(is_hidden_QQ, -torch.inf)
        return mask_QK.repeat(self.num_heads // self.num_kv_heads, 1).to(self._device)

    def by_key(self, x_TE: Tensor, size: int) -> Tensor:
        """Return tokens with heads side by side as [KV, heads of a key * tokens, size of a head], in float32."""
        heads = x_TE.view(len(x_TE), self.num_kv_heads, -1, size).permute(1, 2, 0, 3)
        return heads.reshape(self.num_kv_heads, -1, size).float()

    def by_token(self, x: Tensor, num_tokens: int) -> Tensor:
        """Return what :meth:`by_key` laid out, heads side by side again."""
        heads = x.view(self.num_kv_heads, -1, num_tokens, x.shape[-1]).permute(2, 0, 1, 3)
        return heads.reshape(num_tokens, -1)

    def qkv(self, z_TE: Tensor, tile: Tile) -> tuple[Tensor, Tensor, Tensor]:
        """Return the queries, keys and values of a tile."""
        width = self.num_heads * self.head_dim
        at_keys = [z_TE[place, width:] for place in tile.keys]
        k_KE, v_KE = (at_keys[0] if len(at_keys) == 1 else torch.cat(at_keys)).chunk(2, dim=1)
        q_QE = z_TE[tile.queries, :width]
        return self.by_key(q_QE, self.head_dim), self.by_key(k_KE, self.head_dim), self.by_key(v_KE, self.head_dim)

    def scaled(self, a: Tensor, b: Tensor, added: Tensor | None = None) -> Tensor:
        """Return products times what scores are scaled by, and what is added."""
        beta, added = (0.0, a.new_zeros(())) if added is None else (1.0, added)
        return torch.baddbmm(added, a, b, beta=beta, alpha=self.head_dim**-0.5)


class _Tiled(Function):
    @staticmethod
    def forward(ctx: Any, z_TE: Tensor, attention: TiledAttention) -> Tensor:  # Any: torch's
        num_heads = attention.num_heads
        read_TE = z_TE.new_empty(len(z_TE), num_heads * attention.head_dim, dtype=torch.float32)
        logsumexp_TH = z_TE.new_empty(len(z_TE), num_heads, dtype=torch.float32)
        with multiplied_in(z_TE.dtype):
            for tile in attention.tiles:
                q, k, v = attention.qkv(z_TE, tile)
                scores = attention.scaled(q, k.transpose(1, 2), tile.mask)
                largest = scores.amax(dim=-1, keepdim=True)
                total = scores.sub_(largest).exp_().sum(dim=-1, keepdim=True)
                read = torch.bmm(scores, v).div_(total)
                num_tokens = tile.queries.stop - tile.queries.start
                found = [attention.by_token(each, num_tokens) for each in (read, total.log_().add_(largest))]
                _merge(read_TE[tile.queries], logsumexp_TH[tile.queries], *found, is_first=tile.is_first)
        read_TE = read_TE.to(z_TE.dtype)
        ctx.save_for_backward(z_TE, read_TE, logsumexp_TH)
        ctx.attention = attention
        return read_TE

    @staticmethod
    def backward(ctx: Any, grad_TE: Tensor) -> tuple[Tensor, None]:  # Any: torch's
        z_TE, read_TE, logsumexp_TH = ctx.saved_tensors
        attention: TiledAttention = ctx.attention
        delta_TH = (grad_TE.float() * read_TE).view(*logsumexp_TH.shape, -1).sum(dim=-1)
        of_z_TE, width = torch.zeros_like(z_TE, dtype=torch.float32), grad_TE.shape[1]
        with multiplied_in(z_TE.dtype):
            for tile in attention.tiles:
                of_q, *of_kv = _gradients(attention, tile, z_TE, grad_TE, logsumexp_TH, delta_TH)
                of_z_TE[tile.queries, :width] += attention.by_token(of_q, tile.queries.stop - tile.queries.start)
                sizes = [place.stop - place.start for place in tile.keys]
                of_kv_KE = torch.cat([attention.by_token(each, sum(sizes)) for each in of_kv], dim=1)
                for place, part_KE in zip(tile.keys, torch.split(of_kv_KE, sizes), strict=True):
                    of_z_TE[place, width:] += part_KE
        return of_z_TE.to(z_TE.dtype), None


def _gradients(
    attention: TiledAttention, tile: Tile, z_TE: Tensor, grad_TE: Tensor, logsumexp_TH: Tensor, delta_TH: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a tile adds to the gradients of its queries, keys and values."""
    q, k, v = attention.qkv(z_TE, tile)
    grad = attention.by_key(grad_TE[tile.queries], attention.head_dim)
    delta, logsumexp = (attention.by_key(each[tile.queries], 1) for each in (delta_TH, logsumexp_TH))
    probabilities = attention.scaled(q, k.transpose(1, 2), tile.mask).sub_(logsumexp).exp_()
    of_v = torch.bmm(probabilities.transpose(1, 2), grad)
    of_scores = torch.bmm(grad, v.transpose(1, 2)).sub_(delta).mul_(probabilities)
    return attention.scaled(of_scores, k), attention.scaled(of_scores.transpose(1, 2), q), of_v


def _merge(read_QE: Tensor, logsumexp_QH: Tensor, more_QE: Tensor, of_more_QH: Tensor, *, is_first: bool) -> None:
    """Take in what queries read from further keys, weighed by the probability of these among all so far."""
    if is_first:
        read_QE.copy_(more_QE)
        logsumexp_QH.copy_(of_more_QH)
        return
    share_QH1 = (of_more_QH - logsumexp_QH).sigmoid_()[..., None]
    heads = (*logsumexp_QH.shape, -1)
    read_QE.view(heads).lerp_(more_QE.view(heads), share_QH1)
    torch.logaddexp(logsumexp_QH, of_more_QH, out=logsumexp_QH)
