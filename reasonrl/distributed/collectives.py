"""What ranks tell one another; in a single process nothing is sent."""

from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

Value = TypeVar("Value")


def num_ranks() -> int:
    """Return how many processes learn together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0; 0 where it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of all ranks' values, which are on the CPU."""
    if num_ranks() > 1:
        dist.all_reduce(values)
    return values


def largest_over_ranks(value: int) -> int:
    """Return the largest of all ranks' values."""
    values = torch.tensor([value])
    if num_ranks() > 1:
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return int(values)


def gather(value: Value) -> list[Value]:
    """Return every rank's value, by rank; values are pickled."""
    if num_ranks() == 1:
        return [value]
    gathered: list[Any] = [None] * num_ranks()
    dist.all_gather_object(gathered, value)
    return gathered
