"""Several learners of one policy: each takes a share of the rows, and gradients are summed.

The weights of the loss are made from all rows of an update before they are shared out, so the sum of the ranks'
gradients is the gradient of one process, and ranks need not have equally many rows.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import distributed as dist
from torch import nn

from reasonrl.distributed.collectives import num_ranks, rank
from reasonrl.learner.batching import Row


def own_rows(rows: Sequence[Row], rows_per_unit: int = 1) -> list[int]:
    """Return the indices of this process's rows: whole prompts, assigned so that ranks get equal tokens.

    The rows of a unit follow one another; a unit belongs to the rank of its first row's prompt.
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


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up the gradients of all processes; one without rows adds nothing."""
    if num_ranks() == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
