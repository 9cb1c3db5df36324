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
    """Rows that go through the model together, and the M completion tokens in them, row after row."""

    prompts: tuple[tuple[int, ...], ...]
    """The different prompts: one that several rows share stands here once."""
    prompt_of_row: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]
    advantages_M: Tensor
    weights_M: Tensor
    sampler_logprobs_M: Tensor
    old_logprobs_M: Tensor | None

    @property
    def lengths(self) -> list[int]:
        """Completion tokens of each row."""
        return [len(completion) for completion in self.completions]


def microbatches(
    rows: Sequence[Row], *, max_tokens: int, device: torch.device
) -> Iterator[tuple[list[int], Microbatch]]:
    """Yield micro-batches with the indices of their rows, longest first: memory runs out early or never.

    Rows of one prompt stay together, so that it is computed once for all of them.
    """
    for indices in _packed(rows, max_tokens):
        yield indices, _collate([rows[index] for index in indices], device)


def _packed(rows: Sequence[Row], max_tokens: int) -> Iterator[list[int]]:
    """Fill micro-batches up to the budget; a row longer than the budget goes alone."""
    batch: list[int] = []
    for index in _longest_groups_first(rows):
        if batch and _padded_tokens([rows[member] for member in (*batch, index)]) > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _longest_groups_first(rows: Sequence[Row]) -> list[int]:
    """Order rows by the longest of their prompt's group, then by prompt, then by their own length."""
    longest: dict[tuple[int, ...], int] = {}
    for row in rows:
        prompt = row.sample.prompt_ids
        longest[prompt] = max(longest.get(prompt, 0), len(prompt) + len(row.sample.completion_ids))

    def place(index: int) -> tuple[int, tuple[int, ...], int, int]:
        sample = rows[index].sample
        return -longest[sample.prompt_ids], sample.prompt_ids, -len(sample.completion_ids), index

    return sorted(range(len(rows)), key=place)


def _padded_tokens(rows: Sequence[Row]) -> int:
    """Count the positions that go through the model, padding included."""
    prompts = {row.sample.prompt_ids for row in rows}
    longest_completion = max(len(row.sample.completion_ids) for row in rows)
    return len(prompts) * max(map(len, prompts)) + len(rows) * longest_completion


def _collate(rows: Sequence[Row], device: torch.device) -> Microbatch:
    """Lay out what the losses need, one value a completion token."""
    prompts = list(dict.fromkeys(row.sample.prompt_ids for row in rows))
    repeats_N = torch.tensor([len(row.sample.completion_ids) for row in rows])
    old = [row.old_logprobs_T for row in rows if row.old_logprobs_T is not None]
    sampler_logprobs = [logprob for row in rows for logprob in row.sample.sampler_logprobs]
    return Microbatch(
        prompts=tuple(prompts),
        prompt_of_row=tuple(prompts.index(row.sample.prompt_ids) for row in rows),
        completions=tuple(row.sample.completion_ids for row in rows),
        advantages_M=torch.tensor([row.sample.advantage for row in rows]).repeat_interleave(repeats_N).to(device),
        weights_M=torch.tensor([row.weight for row in rows]).repeat_interleave(repeats_N).to(device),
        sampler_logprobs_M=torch.tensor(sampler_logprobs, device=device),
        old_logprobs_M=torch.cat(old) if old else None,
    )
