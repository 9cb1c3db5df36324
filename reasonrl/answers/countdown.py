"""Countdown: an expression over given numbers that reaches a target."""

from collections.abc import Sequence
from dataclasses import dataclass

from reasonrl.answers.expressions import evaluate_expression
from reasonrl.answers.numbers import as_number
from reasonrl.types import Problem


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is right, and why; true or false where a bool is asked for."""

    right: bool
    why: str

    def __bool__(self) -> bool:
        """Return whether the answer is right."""
        return self.right


def countdown_numbers(problem: Problem) -> tuple[list[int], int] | None:
    """Return the given numbers and the target of a Countdown problem, or None if it is not one.

    The numbers stand in ``meta["numbers"]``, the target is the answer.
    """
    numbers = problem.meta.get("numbers")
    target = as_number(problem.answer)
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        return None
    return (numbers, target.numerator) if target is not None and target.denominator == 1 else None


def solves_countdown(expression: str, numbers: Sequence[int], target: int) -> Verdict:
    """Whether an expression has the target as its value and uses each given number exactly once."""
    result = evaluate_expression(expression)
    if result is None:
        return Verdict(False, f"{expression[:80]!r} is not an arithmetic expression")
    value, used = result
    if sorted(used) != sorted(numbers):
        return Verdict(False, f"uses {sorted(used)}, given were {sorted(numbers)}")
    if value != target:
        return Verdict(False, f"{expression[:80]!r} is {value}, not {target}")
    return Verdict(True, f"{expression[:80]!r} is {target}")
