"""Which examples each step learns from: a pure function of the seed and the step."""

import math
from collections.abc import Sequence
from random import Random


class BatchOrder:
    """Examples of each step. Every epoch is a permutation, and its last step may have fewer examples than others.

    Args:
        prompts: id of each example's prompt.
        per_step: examples of a step.
        by_prompt: keep all examples of a prompt in one step, which may then have fewer examples, or more where one
            prompt alone has more than ``per_step``.
        seed: of the permutations.
    """

    def __init__(self, prompts: Sequence[str], *, per_step: int, by_prompt: bool, seed: int) -> None:
        groups: dict[object, list[int]] = {}
        for index, prompt in enumerate(prompts):
            groups.setdefault(prompt if by_prompt else index, []).append(index)
        self._groups = list(groups.values())
        self._per_step = per_step
        self._seed = seed
        self._ends: list[int] = []
        self._cached: tuple[int, list[list[int]]] | None = None

    def num_steps(self, epochs: float) -> int:
        """Return the steps of so many epochs; a part of an epoch is rounded up to whole steps."""
        whole = int(epochs)
        part = math.ceil(round((epochs - whole) * len(self._epoch(whole)), 6))
        return max(1, (self._end(whole - 1) if whole else 0) + part)

    def at(self, step: int) -> list[int]:
        """Return the indices of the examples of a step, counted from 1."""
        epoch = 0
        while self._end(epoch) < step:
            epoch += 1
        return self._epoch(epoch)[step - 1 - (self._end(epoch - 1) if epoch else 0)]

    def _end(self, epoch: int) -> int:
        """Return the number of steps up to the end of an epoch."""
        while len(self._ends) <= epoch:
            before = self._ends[-1] if self._ends else 0
            self._ends.append(before + len(self._epoch(len(self._ends))))
        return self._ends[epoch]

    def _epoch(self, epoch: int) -> list[list[int]]:
        """Return the steps of an epoch: shuffled groups, as many in each as fit."""
        if self._cached is None or self._cached[0] != epoch:
            groups = self._groups.copy()
            Random(f"{self._seed}/{epoch}").shuffle(groups)
            steps: list[list[int]] = [[]]
            for group in groups:
                if steps[-1] and len(steps[-1]) + len(group) > self._per_step:
                    steps.append([])
                steps[-1].extend(group)
            self._cached = epoch, steps
        return self._cached[1]
