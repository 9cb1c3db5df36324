"""Countdown: reach a target with given numbers, each used exactly once."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from random import Random

from reasonrl import DataError, Problem, Split, digest
from reasonrl_tasks.drawing import draw_distinct


def countdown(
    *,
    split: Split,
    seed: int,
    num_problems: int = 10_000,
    num_numbers: int = 3,
    min_value: int = 1,
    max_value: int = 20,
    max_target: int = 100,
    operations: str = "+-*/",
) -> Sequence[Problem]:
    """Ask for an expression over the given numbers that equals the target (Countdown, TinyZero).

    Every problem is built from an expression, so a solution exists; it stands in ``meta["solution"]``.
    A problem's ``answer`` is the target. The order of the numbers does not make a new problem.

    Args:
        split: ``train`` or ``heldout``; disjoint by problem whatever the seed.
        seed: decides which problems are drawn, not what a problem is.
        num_problems: how many distinct problems.
        num_numbers: how many numbers are given.
        min_value: least number.
        max_value: greatest number.
        max_target: greatest target; the least is 1.
        operations: any of ``+ - * /``; division must come out even.

    Raises:
        DataError: the settings contradict each other or allow too few problems.
    """
    if not operations or set(operations) - set("+-*/"):
        raise DataError(f"task 'countdown': operations is {operations!r}; use any of '+', '-', '*' and '/'.")
    if num_numbers < 2:
        raise DataError(f"task 'countdown': num_numbers is {num_numbers}; use 2 or more.")
    if not 1 <= min_value <= max_value:
        raise DataError(f"task 'countdown': needs 1 <= min_value <= max_value, got {min_value} and {max_value}.")
    draw = partial(
        _draw,
        num_numbers=num_numbers,
        values=(min_value, max_value),
        max_target=max_target,
        operations=operations,
    )
    return draw_distinct(draw, task="countdown", split=split, seed=seed, num_problems=num_problems)


def steps_to(
    numbers: Sequence[int], target: int, operations: str = "+-*/"
) -> Iterator[list[tuple[int, str, int, int]]]:
    """Yield every way to reach the target: a list of ``(left, operation, right, result)`` steps."""
    if len(numbers) == 1:
        if numbers[0] == target:
            yield []
        return
    for i, left in enumerate(numbers):
        for j, right in enumerate(numbers):
            if i == j:
                continue
            others = [n for k, n in enumerate(numbers) if k not in (i, j)]
            for operation in operations:
                result = apply(left, operation, right)
                if result is None or (operation in "+*" and i > j):
                    continue
                for rest in steps_to([result, *others], target, operations):
                    yield [(left, operation, right, result), *rest]


def apply(left: int, operation: str, right: int) -> int | None:
    """Return the result, or None where it is not a whole number of at least 0."""
    if operation == "/":
        exact = Fraction(left, right) if right else None
        return exact.numerator if exact is not None and exact.denominator == 1 else None
    result = {"+": left + right, "-": left - right, "*": left * right}[operation]
    return result if result >= 0 else None


def _draw(
    random: Random, *, num_numbers: int, values: tuple[int, int], max_target: int, operations: str
) -> Problem | None:
    """Draw numbers and combine them at random, or None where the result is not an allowed target."""
    numbers = [random.randint(*values) for _ in range(num_numbers)]
    combined = _combine(random, numbers, operations)
    is_allowed = combined is not None and 1 <= combined[1] <= max_target
    return _problem(numbers, *combined) if combined and is_allowed else None


def _combine(random: Random, numbers: Sequence[int], operations: str) -> tuple[str, int] | None:
    """Join random pairs until one value is left; None where a step is not allowed."""
    pool = [(str(number), number) for number in numbers]
    while len(pool) > 1:
        random.shuffle(pool)
        (left_text, left), (right_text, right), *pool = pool
        operation = random.choice(operations)
        result = apply(left, operation, right)
        if result is None:
            return None
        pool.append((f"({left_text} {operation} {right_text})", result))
    text, value = pool[0]
    return text[1:-1], value


def _problem(numbers: Sequence[int], solution: str, target: int) -> Problem:
    """Return the problem; its id ignores the order of the numbers."""
    listed = ", ".join(map(str, numbers))
    return Problem(
        id=digest("countdown", sorted(numbers), target),
        task="countdown",
        prompt=f"Make {target} from the numbers {listed}, using each exactly once.",
        answer=str(target),
        meta={"numbers": list(numbers), "target": target, "solution": solution},
    )
