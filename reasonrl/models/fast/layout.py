"""Tokens of many rows one after another, without padding: every different prompt once, then the continuations."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Layout:
    """T tokens of P prompts and N continuations, and the M states of theirs that predict tokens."""

    ids_T: Tensor
    positions_T: Tensor
    predicting_M: Tensor
    """For each token that is predicted, where the one before it stands, row after row."""
    prompts: tuple[range, ...]
    """Where each prompt stands."""
    continuations: tuple[range, ...]
    """Where each continuation stands without its last token, which predicts nothing; some are empty. Those of a prompt
    stand side by side."""
    prompt_of: tuple[int, ...]
    """The prompt of each continuation, ascending."""


def lay_out(
    prompts: Sequence[tuple[int, ...]],
    prompt_of_row: Sequence[int],
    continuations: Sequence[tuple[int, ...]],
    chosen: Sequence[tuple[int, ...] | None],
    device: torch.device,
) -> Layout:
    """Lay out rows that share prompts.

    Args:
        prompts: the different ones, none empty.
        prompt_of_row: the prompt of each row.
        continuations: all tokens of each row after its prompt, at least one.
        chosen: for each row the places in its continuation that are predicted, ascending; None for all of them.
        device: of the tensors.
    """
    order = sorted(range(len(continuations)), key=lambda row: prompt_of_row[row])
    prompt_of = tuple(prompt_of_row[row] for row in order)
    tokens = [*prompts, *(continuations[row][:-1] for row in order)]
    ends = [*accumulate(map(len, tokens))]
    spans = tuple(range(end - len(ids), end) for ids, end in zip(tokens, ends, strict=True))
    before = [0] * len(prompts) + [len(prompts[prompt]) for prompt in prompt_of]
    shifts = [first - span.start for first, span in zip(before, spans, strict=True)]
    starts = dict(zip(order, (span.start for span in spans[len(prompts) :]), strict=True))
    places = [range(len(ids)) if some is None else some for ids, some in zip(continuations, chosen, strict=True)]
    places_M = torch.tensor([*chain(*places)], dtype=torch.long)
    last_M = _repeated([spans[prompt].stop - 1 for prompt in prompt_of_row], places)
    return Layout(
        ids_T=torch.tensor([*chain(*tokens)]).to(device),
        positions_T=(torch.arange(ends[-1]) + _repeated(shifts, spans)).to(device),
        predicting_M=torch.where(
            places_M == 0, last_M, places_M - 1 + _repeated([starts[row] for row in range(len(order))], places)
        ).to(device),
        prompts=spans[: len(prompts)],
        continuations=spans[len(prompts) :],
        prompt_of=prompt_of,
    )


def _repeated(values: Sequence[int], like: Sequence[Sequence[int]]) -> Tensor:
    """Return each value as often as its sequence is long."""
    return torch.tensor(values).repeat_interleave(torch.tensor([*map(len, like)]))
