"""Cut the rows of an update into micro-batches that fit a budget of tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reasonrl.types import TrainingSample


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A sample with everything its token losses need: what a row is does not depend on its neighbours."""

    sample: TrainingSample
    weight: float
    """Factor of each of its token losses in the loss of the update."""
    old_logprobs_T: Tensor | None = None
    """Log-probabilities before the step's first update; None where that is this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Microbatch:
    """Right-padded rows, and the M completion tokens of them that are predicted, row after row."""

    ids_NT: Tensor
    """Prompts and completions; the last token of a completion predicts nothing and is left out."""
    positions_M: Tensor
    """Flat indices into ``ids_NT`` of the positions that predict a completion token."""
    targets_M: Tensor
    """The completion tokens."""
    advantages_M: Tensor
    weights_M: Tensor
    sampler_logprobs_M: Tensor
    old_logprobs_M: Tensor | None
    lengths: list[int]
    """Completion tokens of each row."""


def microbatches(
    rows: Sequence[Row], *, max_tokens: int, device: torch.device
) -> Iterator[tuple[list[int], Microbatch]]:
    """Yield micro-batches with the indices of their rows, longest first: memory runs out early or never."""
    for indices in _packed(rows, max_tokens):
        yield indices, _collate([rows[index] for index in indices], device)


def _packed(rows: Sequence[Row], max_tokens: int) -> Iterator[list[int]]:
    """Group rows of similar length; padding counts, and a row longer than the budget goes alone."""
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: (-_length(rows[index]), index)):
        if batch and (len(batch) + 1) * _length(rows[batch[0]]) > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _length(row: Row) -> int:
    """Count the tokens that go through the model."""
    return len(row.sample.prompt_ids) + len(row.sample.completion_ids) - 1


def _collate(rows: Sequence[Row], device: torch.device) -> Microbatch:
    """Lay rows out as tensors; masks come from lengths, never from token values."""
    longest = max(map(_length, rows))
    ids_NT = torch.zeros(len(rows), longest, dtype=torch.long)
    for number, row in enumerate(rows):
        tokens = (*row.sample.prompt_ids, *row.sample.completion_ids)
        ids_NT[number, : len(tokens) - 1] = torch.tensor(tokens[:-1])
    lengths = [len(row.sample.completion_ids) for row in rows]
    starts = [number * longest + len(row.sample.prompt_ids) - 1 for number, row in enumerate(rows)]
    spans = [torch.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    repeats_N = torch.tensor(lengths)
    old = [row.old_logprobs_T for row in rows if row.old_logprobs_T is not None]
    return Microbatch(
        ids_NT=ids_NT.to(device),
        positions_M=torch.cat(spans).to(device),
        targets_M=torch.tensor([token for row in rows for token in row.sample.completion_ids], device=device),
        advantages_M=torch.tensor([row.sample.advantage for row in rows]).repeat_interleave(repeats_N).to(device),
        weights_M=torch.tensor([row.weight for row in rows]).repeat_interleave(repeats_N).to(device),
        sampler_logprobs_M=torch.tensor(
            [logprob for row in rows for logprob in row.sample.sampler_logprobs], device=device
        ),
        old_logprobs_M=torch.cat(old) if old else None,
        lengths=lengths,
    )
