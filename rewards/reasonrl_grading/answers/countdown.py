"""Countdown: an expression over given numbers that reaches a target."""

from collections.abc import Sequence
from dataclasses import dataclass

from reasonrl import Problem
from reasonrl_grading.answers.arithmetic import evaluate_expression
from reasonrl_grading.answers.numbers import as_number


@dataclass(frozen=True, slots=True)
class CountdownResult:
    """Whether an expression solves its problem, and why; its truth value is ``right``."""

    right: bool
    why: str

    def __bool__(self) -> bool:
        """Whether the expression is right."""
        return self.right


def countdown_numbers(problem: Problem) -> tuple[list[int], int] | None:
    """Return the given numbers and the target of a Countdown problem, or None if it is not one.

    The numbers are ``meta["numbers"]``, the target is the answer.
    """
    numbers = problem.meta.get("numbers")
    target = as_number(problem.answer)
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        return None
    return (numbers, target.numerator) if target is not None and target.denominator == 1 else None


def solves_countdown(expression: str, numbers: Sequence[int], target: int) -> CountdownResult:
    """Whether an expression has the target as its value and uses each given number exactly once."""
    result = evaluate_expression(expression)
    if result is None:
        return CountdownResult(False, f"{expression[:80]!r} is not an arithmetic expression")
    value, used = result
    if sorted(used) != sorted(numbers):
        return CountdownResult(False, f"uses {sorted(used)}, given were {sorted(numbers)}")
    if value != target:
        return CountdownResult(False, f"{expression[:80]!r} is {value}, not {target}")
    return CountdownResult(True, f"{expression[:80]!r} is {target}")
