"""Several tasks in one stream: which task each position takes, as exactly as whole problems allow."""

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from math import gcd, lcm

from reasonrl.rollout.order import DataOrder, KeepsNoState
from reasonrl.types import Problem


class TaskTurns:
    """Which task takes each position of a stream: a pure function of the weights.

    Among the first n positions every task has n times its share, to within less than one position (the chairman
    assignment of R. Tijdeman, Discrete Mathematics 32, 1980). Where the shares are whole numbers over D, any D
    positions in a row have exactly these numbers.

    Args:
        weights: above 0; a share is a weight over their sum.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self._units = _whole_numbers(weights)
        self._cycle, self._span = sum(self._units), max(2 * len(self._units) - 2, 1)
        self._turns: list[tuple[int, int]] = []
        self._counts = [0] * len(weights)

    def at(self, position: int) -> tuple[int, int]:
        """Return the task of a position, and how many positions before it had the same one."""
        cycle, offset = divmod(position, self._cycle)
        while len(self._turns) <= offset:
            self._extend()
        task, before = self._turns[offset]
        return task, cycle * self._units[task] + before

    def _extend(self) -> None:
        """Give the next position to the task that must have it soonest, of those that may have it now."""
        tasks = range(len(self._units))
        task = min((task for task in tasks if self._behind(task) >= self._cycle), key=self._deadline)
        self._turns.append((task, self._counts[task]))
        self._counts[task] += 1

    def _behind(self, task: int) -> int:
        """Return how far a task is behind its share; a ``span``-th of a position is ``cycle``."""
        return self._span * ((len(self._turns) + 1) * self._units[task] - self._counts[task] * self._cycle)

    def _deadline(self, task: int) -> int:
        """Order tasks by the position at which they would be too far behind; all integers, so that nothing rounds."""
        return ((self._span - 1) * self._cycle - self._behind(task)) * (lcm(*self._units) // self._units[task])


class MixedOrder(KeepsNoState):
    """An endless stream of the problems of several tasks, each in an order of its own.

    Args:
        orders: of each task.
        weights: of each task.
    """

    def __init__(self, orders: Sequence[DataOrder], weights: Sequence[float]) -> None:
        self._orders = orders
        self._turns = TaskTurns(weights)

    def at(self, first: int, count: int) -> list[Problem]:
        """Return ``count`` problems from position ``first`` of the stream."""
        turns = map(self._turns.at, range(first, first + count))
        return [problem for task, position in turns for problem in self._orders[task].at(position, 1)]


def interleaved(lists: Sequence[Sequence[Problem]], weights: Sequence[float]) -> list[Problem]:
    """Return the problems of several tasks, each once, mixed by the weights until a task has no more of them."""
    turns = [
        ((place + 1) / weight, task, problem)
        for task, (problems, weight) in enumerate(zip(lists, weights, strict=True))
        for place, problem in enumerate(problems)
    ]
    return [problem for _, _, problem in sorted(turns, key=lambda turn: turn[:2])]


def _whole_numbers(weights: Sequence[float]) -> list[int]:
    """Return the smallest whole numbers in the same proportion; decimals count as they are written."""
    written = [Fraction(repr(float(weight))) for weight in weights]
    scale = lcm(*(weight.denominator for weight in written))
    whole = [int(weight * scale) for weight in written]
    common = reduce(gcd, whole)
    return [number // common for number in whole]
