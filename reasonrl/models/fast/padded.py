"""torch's own attention over short rows that are filled up to one length: far fewer calls than tile by tile."""

from collections.abc import Sequence
from typing import Any, Final, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import scaled_dot_product_attention

from reasonrl.models.fast.family import Family
from reasonrl.models.fast.layout import Layout
from reasonrl.models.fast.weights import multiplied_in

LONGEST: Final = 256
"""Tokens of a row with its prompt, beyond which tiles leave out more than these calls save, and keep less."""

LARGEST_MASK: Final = 2**23
"""Most elements of the mask, 32 MiB: it has one for each query and key."""

SCORES: Final = 2**19
"""Most scores of all heads that the backward pass makes at once: 2 MiB."""

MOST_FILLED: Final = 3.0
"""Of what must be multiplied, that is multiplied at most."""


def fits(layout: Layout) -> bool:
    """Say whether rows are short, and similar enough in length that filling them up costs little."""
    own, prompts = [len(span) for span in layout.continuations], [len(span) for span in layout.prompts]
    before = [prompts[number] for number in layout.prompt_of]
    needed = sum(length * (length + earlier) for length, earlier in zip(own, before, strict=True))
    longest, filled = max(own) + max(prompts), len(own) * max(own) * (max(own) + max(prompts))
    return longest <= LONGEST and 0 < filled <= min(LARGEST_MASK, MOST_FILLED * needed)


class PaddedAttention:
    """Attention of prompts to themselves, then of rows to their prompt and themselves; what is filled up is hidden.

    Args:
        layout: the tokens; see :func:`fits`.
        family: whose heads attend.
    """

    def __init__(self, layout: Layout, family: Family) -> None:
        self._heads = [family.num_heads, family.num_kv_heads, family.num_kv_heads]
        self._head_dim = family.head_dim
        device = layout.ids_T.device
        self._num_prompt_tokens = layout.prompts[-1].stop
        self._prompts, prompt_lengths_P, self._prompt_places = _places(layout.prompts)
        self._rows, _, self._row_places = _places(layout.continuations)
        prompt_N = torch.tensor(layout.prompt_of)
        num_own = self._rows[1]
        beyond_N1P = (torch.arange(self._prompts[1]) >= prompt_lengths_P[prompt_N, None])[:, None]
        later_1QQ = torch.ones(num_own, num_own, dtype=torch.bool).triu(1)[None]
        parts = [beyond_N1P.expand(-1, num_own, -1), later_1QQ.expand(len(prompt_N), -1, -1)]
        is_hidden_NQK = torch.cat(parts, dim=2)
        self._mask_N1QK = _mask(is_hidden_NQK).to(device)
        self._mask_11PP = _mask(torch.ones(1, self._prompts[1], self._prompts[1], dtype=torch.bool).triu(1)).to(device)
        self._prompt_N = prompt_N.to(device)
        self._prompt_places, self._row_places = self._prompt_places.to(device), self._row_places.to(device)

    def __call__(self, z_TE: Tensor) -> Tensor:
        """Return what each token's queries read."""
        prompts_TE, rows_TE = z_TE[: self._num_prompt_tokens], z_TE[self._num_prompt_tokens :]
        q, k_P, v_P = self._filled(prompts_TE, self._prompts, self._prompt_places)
        of_prompts = self._attended(q, k_P, v_P, self._mask_11PP)
        q, k, v = self._filled(rows_TE, self._rows, self._row_places)
        k, v = (torch.cat([each.index_select(0, self._prompt_N), own], dim=2) for each, own in ((k_P, k), (v_P, v)))
        of_rows = self._attended(q, k, v, self._mask_N1QK)
        return torch.cat([_take(of_prompts, self._prompt_places), _take(of_rows, self._row_places)])

    def _filled(self, z_TE: Tensor, shape: tuple[int, int], places_T: Tensor) -> Sequence[Tensor]:
        """Return queries, keys and values, [sequences, heads, tokens, head size] each, with zeros at the right."""
        filled = z_TE.new_zeros(shape[0] * shape[1], z_TE.shape[1]).index_copy(0, places_T, z_TE)
        heads = filled.view(*shape, -1, self._head_dim).transpose(1, 2)
        return torch.split(heads, self._heads, dim=1)

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Return what queries read, a row for each place."""
        attend = _Attended.apply if q.device.type == "cpu" and q.dtype == torch.bfloat16 else _attended
        read = cast(Tensor, attend(q, k, v, mask))
        return read.transpose(1, 2).reshape(-1, self._heads[0] * self._head_dim)


def _mask(is_hidden_NQK: Tensor) -> Tensor:
    return torch.zeros(is_hidden_NQK.shape).masked_fill_(is_hidden_NQK, -torch.inf)[:, None]


def _attended(q_NHQD: Tensor, k_NGKD: Tensor, v_NGKD: Tensor, mask_N1QK: Tensor) -> Tensor:
    """Return what queries of H heads read from G, each of which H / G of them share."""
    shares = q_NHQD.shape[1] != k_NGKD.shape[1]
    return scaled_dot_product_attention(q_NHQD, k_NGKD, v_NGKD, mask_N1QK.to(q_NHQD.dtype), enable_gqa=shares)


class _Attended(Function):
    """The same in bfloat16 on a CPU, where torch's own backward pass takes three times as long as these products."""

    @staticmethod
    def forward(ctx: Any, q_NHQD: Tensor, k_NGKD: Tensor, v_NGKD: Tensor, mask_N1QK: Tensor) -> Tensor:  # Any: torch's
        ctx.save_for_backward(q_NHQD, k_NGKD, v_NGKD, mask_N1QK)
        return _attended(q_NHQD, k_NGKD, v_NGKD, mask_N1QK)

    @staticmethod
    def backward(ctx: Any, grad_NHQD: Tensor) -> tuple[Tensor | None, ...]:  # Any: torch's
        q_NHQD, k_NGKD, v_NGKD, mask_N1QK = ctx.saved_tensors
        size = max(1, SCORES // (q_NHQD.shape[1] * mask_N1QK[0].numel()))
        given = (grad_NHQD, q_NHQD, k_NGKD, v_NGKD, mask_N1QK.expand(len(q_NHQD), -1, -1, -1))
        with multiplied_in(q_NHQD.dtype):
            found = [_gradients(*parts) for parts in zip(*(each.split(size) for each in given), strict=True)]
        return *(torch.cat(parts) for parts in zip(*found, strict=True)), None


def _gradients(
    grad_NHQD: Tensor, q_NHQD: Tensor, k_NGKD: Tensor, v_NGKD: Tensor, mask_N1QK: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of queries, keys and values of some sequences; the probabilities are made again."""
    k, v = (each.float().flatten(0, 1) for each in (k_NGKD, v_NGKD))
    # The queries of the heads that share a key stand side by side.
    q, grad = (each.float().reshape(len(k), -1, each.shape[-1]) for each in (q_NHQD, grad_NHQD))
    scale = q.shape[-1] ** -0.5
    q = q * scale
    scores = torch.bmm(q, k.transpose(1, 2)).view(*q_NHQD.shape[:3], -1).add_(mask_N1QK)
    probabilities = scores.softmax(-1).view(*q.shape[:2], -1)
    of_v = torch.bmm(probabilities.transpose(1, 2), grad)
    of_probabilities = torch.bmm(grad, v.transpose(1, 2))
    of_scores = torch._softmax_backward_data(of_probabilities, probabilities, -1, torch.float32)
    of_q, of_k = torch.bmm(of_scores, k).mul_(scale), torch.bmm(of_scores.transpose(1, 2), q)
    dtype = q_NHQD.dtype
    return of_q.view_as(q_NHQD).to(dtype), of_k.view_as(k_NGKD).to(dtype), of_v.view_as(v_NGKD).to(dtype)


def _places(spans: Sequence[range]) -> tuple[tuple[int, int], Tensor, Tensor]:
    """Return number and greatest length of sequences, their lengths, and where each token stands if all have that."""
    lengths = torch.tensor([*map(len, spans)])
    longest = int(lengths.max())
    is_real = torch.arange(longest) < lengths[:, None]
    return (len(spans), longest), lengths, is_real.flatten().nonzero()[:, 0]


def _take(x_RE: Tensor, places_T: Tensor) -> Tensor:
    """Return the rows at different places."""
    return cast(Tensor, _Take.apply(x_RE, places_T))  # type: ignore[no-untyped-call]  # torch


class _Take(Function):
    """Selects rows none of which is taken twice: its gradient is a copy, and no sum."""

    @staticmethod
    def forward(ctx: Any, x_RE: Tensor, places_T: Tensor) -> Tensor:  # Any: torch's
        ctx.save_for_backward(places_T)
        ctx.num_rows = len(x_RE)
        return x_RE.index_select(0, places_T)

    @staticmethod
    def backward(ctx: Any, grad_TE: Tensor) -> tuple[Tensor, None]:  # Any: torch's
        (places_T,) = ctx.saved_tensors
        return grad_TE.new_zeros(ctx.num_rows, grad_TE.shape[1]).index_copy_(0, places_T, grad_TE), None
