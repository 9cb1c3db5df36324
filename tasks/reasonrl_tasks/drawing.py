"""Draw distinct problems of one split from a generator."""

from collections.abc import Callable
from random import Random

from reasonrl import DataError, Problem, Split, split_of

MAX_FRUITLESS_DRAWS = 20_000
"""Draws in a row without a new problem after which the space of problems counts as exhausted."""


def draw_distinct(
    draw: Callable[[Random], Problem | None], *, task: str, split: Split, seed: int, num_problems: int
) -> list[Problem]:
    """Return ``num_problems`` problems of the split, no two of them equal, always the same for a seed.

    Args:
        draw: makes a problem from the generator, or None where what came up is not allowed.
        task: name of the task.
        split: which side of the split.
        seed: decides which problems are drawn.
        num_problems: how many.

    Raises:
        DataError: the settings allow fewer distinct problems than asked for.
    """
    random = Random(f"{task}/{split}/{seed}")
    found: dict[str, Problem] = {}
    num_fruitless = 0
    while len(found) < num_problems:
        problem = draw(random)
        if problem is not None and split_of(problem.id) == split and problem.id not in found:
            found[problem.id] = problem
            num_fruitless = 0
        elif (num_fruitless := num_fruitless + 1) > MAX_FRUITLESS_DRAWS:
            raise DataError(
                f"task {task!r}: asked for {num_problems} distinct {split} problems, but its settings allow "
                f"only about {len(found)}. Lower num_problems or widen the difficulty settings."
            )
    return list(found.values())
