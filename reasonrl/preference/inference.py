"""Scores of many completions: a prompt is computed once, and completions of like length go through the model together.

Right-padded rows of prompt and completion, all in one forward pass, compute every prompt as often as it has completions
and pad all rows to the longest. Here the keys and values of the prompts are kept, and the completions over them are cut
into micro-batches by their length alone, whichever prompts they follow.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Final, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from reasonrl.learner.forward import padded, run_over_cache
from reasonrl.models.compute import DtypeName, Work, choose_compute
from reasonrl.models.hardware import autocast
from reasonrl.types import TrainingSample

MAX_PADDING: Final = {"cpu": 64, "cuda": 4096}
"""Tokens of padding for which another forward pass is worth its fixed cost, by device."""


def hold_products_in(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Keep the matrices of a model that only scores in the type of its products: half of the memory, and no casts.

    Embeddings, norms and the heads stay as they are, and with them the sums between the products.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not model.score:
            module.to(dtype)


def scoring_dtype(model: PreTrainedModel, asked: DtypeName) -> torch.dtype:
    """Return the type of a model's products that only scores: what is asked for, or faster on its device."""
    return choose_compute(model.config, model.device, asked=asked, fast=False, work=Work(learned=1.0)).compute.dtype


@torch.no_grad()
def end_scores(
    model: PreTrainedModel, samples: Sequence[TrainingSample], *, max_tokens: int, dtype: torch.dtype
) -> list[tuple[float, ...]]:
    """Return the scores of rows under each head, in their order, read at the token before the last of each row.

    Args:
        model: a backbone with a linear head named ``score``.
        samples: rows made by the reward model's encoder.
        max_tokens: most tokens in memory at once, those of the prompts and padding included.
        dtype: type of matrix products but the head's, which are float32.
    """
    found = dict[int, tuple[float, ...]]()
    for prompts in _prompt_batches(samples, max_tokens):
        mine = [index for index, sample in enumerate(samples) if sample.prompt_ids in prompts]
        with autocast(model.device, dtype):
            cache, mask_PT = _prompt_states(model, list(prompts))
            for indices in _by_length(mine, samples, mask_PT.shape[1], max_tokens, model.device):
                rows = [samples[index] for index in indices]
                states_ND = _end_states(model, rows, [prompts[row.prompt_ids] for row in rows], cache, mask_PT)
                found |= zip(indices, _head_scores(model, states_ND), strict=True)
    return [found[index] for index in range(len(samples))]


def _prompt_batches(samples: Sequence[TrainingSample], max_tokens: int) -> Iterator[dict[tuple[int, ...], int]]:
    """Yield the different prompts, longest first, as many as leave half of the budget to completions, with their row.

    Prompts of like length stand together, so that little is padding.
    """
    batch: dict[tuple[int, ...], int] = {}
    for prompt in sorted({sample.prompt_ids for sample in samples}, key=lambda ids: (-len(ids), ids)):
        if batch and (len(batch) + 1) * len(next(iter(batch))) > max_tokens // 2:
            yield batch
            batch = {}
        batch[prompt] = len(batch)
    if batch:
        yield batch


def _by_length(
    indices: Sequence[int], samples: Sequence[TrainingSample], prompt_length: int, max_tokens: int, device: torch.device
) -> Iterator[list[int]]:
    """Cut rows into micro-batches, longest first: within the budget, and with no more padding than it is worth."""

    def place(index: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        sample = samples[index]
        return -len(sample.token_ids), sample.token_ids, sample.prompt_ids

    batch, padding, longest = list[int](), 0, 0
    # Ordered by their tokens too, so that what stands together, and the last bits with it, never depends on the order.
    for index in sorted(indices, key=place):
        length = len(samples[index].token_ids) - 1
        is_over = (len(batch) + 1) * (prompt_length + longest) > max_tokens // 2
        if batch and (is_over or padding + longest - length > MAX_PADDING.get(device.type, 0)):
            yield batch
            batch, padding = [], 0
        longest = longest if batch else length
        batch.append(index)
        padding += longest - length
    if batch:
        yield batch


def _prompt_states(model: PreTrainedModel, prompts: Sequence[tuple[int, ...]]) -> tuple[DynamicCache, Tensor]:
    """Return the keys and values of prompts, and the mask [P, T] of their tokens, which are padded at the left."""
    ids_PT, mask_PT = (part.to(model.device) for part in padded(prompts, left=True))
    cache = DynamicCache(config=model.config)
    run_over_cache(model, ids_PT, mask_PT, cache)
    return cache, mask_PT


def _end_states(
    model: PreTrainedModel,
    rows: Sequence[TrainingSample],
    prompt_of_row: Sequence[int],
    cache: DynamicCache,
    mask_PT: Tensor,
) -> Tensor:
    """Return the last hidden states [N, D] at the end-of-sequence tokens of rows; the prompts' cache stays as it is."""
    afters = [row.token_ids[:-1] for row in rows]
    ids_NT = padded(afters, left=False)[0].to(model.device)
    prompt_N = torch.tensor(prompt_of_row, device=model.device)
    mask_NT = torch.cat([mask_PT[prompt_N], torch.ones_like(ids_NT)], dim=1)
    states_NTD = run_over_cache(model, ids_NT, mask_NT, _rows_of(cache, prompt_N))
    ends_N = torch.tensor([len(after) - 1 for after in afters], device=model.device)
    return states_NTD[torch.arange(len(rows), device=model.device), ends_N]


def _rows_of(cache: DynamicCache, rows_N: Tensor) -> DynamicCache:
    """Return a cache of some rows of another one, which keeps its own."""
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    selected.reorder_cache(rows_N)  # type: ignore[arg-type]  # a LongTensor is a Tensor of int64
    return selected


def _head_scores(model: PreTrainedModel, states_ND: Tensor) -> list[tuple[float, ...]]:
    """Apply the head in float32: half precision would round scores to three digits."""
    head = cast(nn.Linear, model.score)
    with torch.autocast(model.device.type, enabled=False):
        scores_NK = nn.functional.linear(states_ND.float(), head.weight.float(), head.bias)
    return list(map(tuple, scores_NK.tolist()))
