"""The order of training problems: a pure function of the seed and the position."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import Any, Protocol

from reasonrl.types import Group, Problem, RewardResults


class ProblemOrder(Protocol):
    """An endless stream of problems, which may depend on what the steps before have shown."""

    def at(self, first: int, count: int) -> list[Problem]:
        """Return ``count`` problems from position ``first`` of the stream.

        An order with a state is asked for every position once, one after the other.
        """
        ...

    def observe(self, step: int, sampled: Sequence[tuple[Group, RewardResults]]) -> Mapping[str, float]:
        """Take in what a step sampled before the next one is asked for; return what it measured, by metric name."""
        ...

    def state(self) -> Mapping[str, Any] | None:
        """Return what a checkpoint must hold of it; None for a pure function of the position. Any: JSON values."""
        ...


class KeepsNoState:
    """The part of an order that is a pure function of the position."""

    def observe(self, step: int, sampled: Sequence[tuple[Group, RewardResults]]) -> Mapping[str, float]:
        """Learn nothing from a step."""
        return {}

    def state(self) -> Mapping[str, Any] | None:
        """Return nothing: a checkpoint holds the position. Any: nothing."""
        return None


class DataOrder(KeepsNoState):
    """An endless stream of the problems of one task.

    Every epoch is a permutation of all problems, so no problem comes twice before each came once. With weights an epoch
    has as many positions, and in it each problem comes as often as its share says, rounded up or down so that the mean
    over epochs is exact (systematic sampling).

    Args:
        problems: of the task.
        seed: names the order; equal seeds give equal orders.
        weights: how often each problem comes beside the others; None is once for all.
    """

    def __init__(self, problems: Sequence[Problem], seed: int | str, weights: Sequence[float] | None = None) -> None:
        self._problems = problems
        self._seed = seed
        self._weights = weights
        self._epochs: dict[int, list[int]] = {}

    def at(self, first: int, count: int) -> list[Problem]:
        """Return ``count`` problems from position ``first`` of the stream."""
        return [self._problems[self.index_at(position)] for position in range(first, first + count)]

    def index_at(self, position: int) -> int:
        """Return which of the problems stands at a position."""
        epoch, index = divmod(position, len(self._problems))
        if epoch not in self._epochs:
            order = self._members(epoch)
            Random(f"{self._seed}/{epoch}").shuffle(order)
            self._epochs = {epoch - 1: self._epochs.get(epoch - 1, []), epoch: order}
        return self._epochs[epoch][index]

    def _members(self, epoch: int) -> list[int]:
        """Return the problems of an epoch, each as often as it comes."""
        count = len(self._problems)
        if self._weights is None:
            return list(range(count))
        offset, whole = Random(f"{self._seed}/{epoch}/weights").random(), sum(self._weights)
        # The last boundary is set, not summed: rounding must not lose a position.
        ends = [int(count * weight / whole + offset) for weight in accumulate(self._weights)]
        starts = [0, *ends[:-1]]
        ends[-1] = count
        return [index for index in range(count) for _ in range(ends[index] - starts[index])]
