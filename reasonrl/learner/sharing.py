"""The share of each process in the rows of an update, and the passes through the model that it takes.

The weights of the loss are made from all rows of an update before they are shared out, so the sum of the processes'
gradients is the gradient of one process, and they need not have equally many rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from reasonrl.distributed.collectives import gather, largest_over_ranks, num_ranks, rank
from reasonrl.learner.batching import Budget, Microbatch, Row, collate, packed
from reasonrl.models.sharded import is_sharded
from reasonrl.types import TrainingSample


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A micro-batch of this process on its way through the model."""

    indices: list[int]
    """Of its rows among all rows of the update; none where it is only there to keep pace."""
    batch: Microbatch
    is_last: bool
    """Whether the update has no other."""

    @property
    def keeps_pace(self) -> bool:
        """Whether it has no rows of its own, because another process has more micro-batches: its loss weighs 0."""
        return not self.indices


def passes(model: PreTrainedModel, rows: Sequence[Row], budget: Budget) -> Iterator[Pass]:
    """Yield this process's micro-batches of rows that all processes have.

    Processes that share a divided model take equally many, since each gathers weights from all.

    Args:
        model: that they go through.
        rows: those of an update; nothing is yielded where there are none.
        budget: of a micro-batch.
    """
    own = own_rows(rows, budget.rows_per_unit)
    cut = [[own[each] for each in part] for part in packed([rows[index] for index in own], budget)]
    count = largest_over_ranks(len(cut)) if is_sharded(model) else len(cut)
    for number in range(count):
        indices = cut[number] if number < len(cut) else []
        chosen = [rows[index] for index in indices] or _weightless(rows, budget.rows_per_unit)
        yield Pass(indices=indices, batch=collate(chosen, model.device), is_last=number == count - 1)


def tokens_of_own_rows(
    model: PreTrainedModel, rows: Sequence[Row], compute: Callable[[Microbatch], Tensor], budget: Budget
) -> dict[int, Tensor]:
    """Return for each of this process's rows, by index, one value [T] for each of its tokens that have a loss.

    Args:
        model: that computes.
        rows: those of an update.
        compute: from a micro-batch to the values of its tokens [M].
        budget: of a micro-batch.
    """
    found: dict[int, Tensor] = {}
    for one in passes(model, rows, budget):
        values = torch.split(compute(one.batch), list(one.batch.lengths))
        found |= {} if one.keeps_pace else zip(one.indices, values, strict=True)
    return found


def tokens_of_samples(
    model: PreTrainedModel, samples: Sequence[TrainingSample], compute: Callable[[Microbatch], Tensor], budget: Budget
) -> list[Tensor]:
    """Return for each sample one value [T] for each of its tokens that have a loss; every process returns all.

    Args:
        model: that computes.
        samples: any number of them, the same on every process.
        compute: from a micro-batch to the values of its tokens [M].
        budget: of one forward pass.
    """
    rows = [Row(sample=sample, weight=0.0) for sample in samples]
    found = tokens_of_own_rows(model, rows, compute, budget)
    if num_ranks() > 1:
        on_cpu = {index: values_T.cpu().clone() for index, values_T in found.items()}  # each a view of a micro-batch
        found = {index: values_T.to(model.device) for part in gather(on_cpu) for index, values_T in part.items()}
    return [found[index] for index in range(len(rows))]


def own_rows(rows: Sequence[Row], rows_per_unit: int = 1) -> list[int]:
    """Return the indices of this process's rows: whole prompts, assigned so that processes get equal tokens.

    The rows of a unit follow one another; a unit belongs to the process of its first row's prompt.
    """
    if num_ranks() == 1:
        return list(range(len(rows)))
    owner, loads = {}, [0] * num_ranks()
    for prompt, tokens in sorted(_tokens_by_prompt(rows).items(), key=lambda item: (-item[1], item[0])):
        owner[prompt] = loads.index(min(loads))
        loads[owner[prompt]] += tokens
    first_of_unit = [rows[index - index % rows_per_unit] for index in range(len(rows))]
    return [index for index, row in enumerate(first_of_unit) if owner[row.sample.prompt_ids] == rank()]


def _tokens_by_prompt(rows: Sequence[Row]) -> dict[tuple[int, ...], int]:
    tokens: dict[tuple[int, ...], int] = {}
    for row in rows:
        prompt = row.sample.prompt_ids
        tokens[prompt] = tokens.get(prompt, len(prompt)) + len(row.sample.token_ids)
    return tokens


def _weightless(rows: Sequence[Row], rows_per_unit: int) -> list[Row]:
    """Return the shortest unit of an update, with neither weight nor advantage in the loss."""

    def tokens(first: int) -> int:
        unit = rows[first : first + rows_per_unit]
        return sum(len(row.sample.prompt_ids) + len(row.sample.token_ids) for row in unit)

    first = min(range(0, len(rows), rows_per_unit), key=tokens)
    unit = rows[first : first + rows_per_unit]
    return [replace(row, weight=0.0, sample=replace(row.sample, advantages_T=0.0)) for row in unit]
