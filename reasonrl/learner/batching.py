"""Cut the rows of an update into micro-batches that fit a budget of tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from reasonrl.types import TrainingSample

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A sample with everything its token losses need: what a row is does not depend on its neighbors."""

    sample: TrainingSample
    weight: float
    """Factor of each of its token losses in the loss of the update."""
    old_logprobs_T: Tensor | None = None
    """Log-probabilities before the step's first update, of the tokens that the policy chose; None where that is this
    update."""
    columns: Mapping[str, Sequence[float | tuple[float, ...]]] = field(default_factory=dict)
    """What an objective needs beside them, by name: a number for each token after the prompt, or equally many. All rows
    of an update have the same columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Microbatch:
    """Rows that go through the model together, and the M tokens in them that have a loss, row after row."""

    prompts: tuple[tuple[int, ...], ...]
    """The different prompts: one that several rows share stands here once."""
    prompt_of_row: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]
    """All tokens of each row after its prompt."""
    chosen: tuple[tuple[int, ...] | None, ...]
    """For each row the positions in its continuation that have a loss; None for all of them."""
    lengths: tuple[int, ...]
    """Number of tokens with a loss in each row."""
    targets_M: Tensor
    advantages_M: Tensor
    weights_M: Tensor
    sampler_logprobs_M: Tensor
    old_logprobs_M: Tensor | None
    columns: Mapping[str, Tensor]
    """Each row's columns at the tokens that have a loss [M], or [M, K], by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a micro-batch may hold."""

    tokens: int
    """Most of them; a unit longer than that goes alone."""
    rows_per_unit: int = 1
    """So many rows in succession are never separated: 2 for pairs."""
    pads: bool = True
    """Whether the model computes padding, which then counts."""


def packed(rows: Sequence[Row], budget: Budget) -> Iterator[list[int]]:
    """Yield the indices of the rows of each micro-batch, longest first: memory runs out early or never.

    Rows of one prompt stay together, so that it is computed once for all of them.

    Args:
        rows: a process's share of those of an update.
        budget: of a micro-batch.
    """
    tokens = _padded_tokens if budget.pads else _own_tokens
    batch: list[int] = []
    for first in _longest_groups_first(rows, budget.rows_per_unit):
        unit = range(first, first + budget.rows_per_unit)
        if batch and tokens([rows[member] for member in (*batch, *unit)]) > budget.tokens:
            yield batch
            batch = []
        batch.extend(unit)
    if batch:
        yield batch


def _longest_groups_first(rows: Sequence[Row], rows_per_unit: int) -> list[int]:
    """Order the first rows of units by the longest of their prompt's group, then by prompt, then by own length."""
    longest: dict[tuple[int, ...], int] = {}
    for row in rows:
        prompt = row.sample.prompt_ids
        longest[prompt] = max(longest.get(prompt, 0), len(prompt) + len(row.sample.token_ids))

    def place(index: int) -> tuple[int, tuple[int, ...], int, int]:
        sample = rows[index].sample
        return -longest[sample.prompt_ids], sample.prompt_ids, -len(sample.token_ids), index

    return sorted(range(0, len(rows), rows_per_unit), key=place)


def _padded_tokens(rows: Sequence[Row]) -> int:
    prompts = {row.sample.prompt_ids for row in rows}
    longest_continuation = max(len(row.sample.token_ids) for row in rows)
    return len(prompts) * max(map(len, prompts)) + len(rows) * longest_continuation


def _own_tokens(rows: Sequence[Row]) -> int:
    prompts = {row.sample.prompt_ids for row in rows}
    return sum(map(len, prompts)) + sum(len(row.sample.token_ids) for row in rows)


def collate(rows: Sequence[Row], device: torch.device) -> Microbatch:
    """Lay out what the losses need of rows, one value for each token that has a loss."""
    samples = [row.sample for row in rows]
    prompts = list(dict.fromkeys(sample.prompt_ids for sample in samples))
    lengths = tuple(sample.num_loss_tokens for sample in samples)
    repeats_N = torch.tensor(lengths)
    old = [row.old_logprobs_T for row in rows if row.old_logprobs_T is not None]
    return Microbatch(
        prompts=tuple(prompts),
        prompt_of_row=tuple(prompts.index(sample.prompt_ids) for sample in samples),
        continuations=tuple(sample.token_ids for sample in samples),
        chosen=tuple(map(_chosen, samples)),
        lengths=lengths,
        targets_M=torch.tensor([token for s in samples for token in _of_loss(s, s.token_ids)], device=device),
        advantages_M=torch.tensor([value for s in samples for value in _advantages(s)]).to(device),
        weights_M=torch.tensor([row.weight for row in rows]).repeat_interleave(repeats_N).to(device),
        sampler_logprobs_M=torch.tensor(
            [logprob for s in samples for logprob in _of_loss(s, s.sampler_logprobs)], device=device
        ),
        old_logprobs_M=torch.cat(old) if old else None,
        columns={name: _column(rows, name).to(device) for name in rows[0].columns},
    )


def _column(rows: Sequence[Row], name: str) -> Tensor:
    return torch.tensor([value for row in rows for value in _of_loss(row.sample, row.columns[name])])


def _chosen(sample: TrainingSample) -> tuple[int, ...] | None:
    """Return the positions of a sample's tokens that have a loss; None for all of them."""
    return None if all(sample.mask) else tuple(index for index, chosen in enumerate(sample.mask) if chosen)


def _of_loss(sample: TrainingSample, values_T: Sequence[Value]) -> Iterator[Value]:
    return (value for value, chosen in zip(values_T, sample.mask, strict=True) if chosen)


def _advantages(sample: TrainingSample) -> Iterator[float]:
    if isinstance(sample.advantages_T, tuple):
        return _of_loss(sample, sample.advantages_T)
    return iter((sample.advantages_T,) * sample.num_loss_tokens)
