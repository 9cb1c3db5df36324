"""The order of training problems: a pure function of the seed and the position."""

from collections.abc import Sequence
from random import Random

from reasonrl.types import Problem


class DataOrder:
    """An endless stream of problems.

    Every epoch is a permutation of all problems, so no problem comes twice before each came once.
    """

    def __init__(self, problems: Sequence[Problem], seed: int) -> None:
        self._problems = problems
        self._seed = seed
        self._permutations: dict[int, list[int]] = {}

    def at(self, first: int, count: int) -> list[Problem]:
        """Return ``count`` problems from position ``first`` of the stream."""
        return [self._problem(position) for position in range(first, first + count)]

    def _problem(self, position: int) -> Problem:
        epoch, index = divmod(position, len(self._problems))
        if epoch not in self._permutations:
            order = list(range(len(self._problems)))
            Random(f"{self._seed}/{epoch}").shuffle(order)
            self._permutations = {epoch - 1: self._permutations.get(epoch - 1, []), epoch: order}
        return self._problems[self._permutations[epoch][index]]
