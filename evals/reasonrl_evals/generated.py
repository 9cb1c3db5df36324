"""Suites of generated problems: the held-out side of the tasks ``arithmetic`` and ``countdown``."""

from reasonrl import LoadHeldout, Suite
from reasonrl_evals.metrics import countdown_solved, last_number, number_in_answer, reading
from reasonrl_grading.answers import MARKED, Source


def arithmetic(
    *,
    load: LoadHeldout,
    num_problems: int = 400,
    min_terms: int = 2,
    max_terms: int = 4,
    min_value: int = 1,
    max_value: int = 20,
    operations: str = "+-",
    allow_negative: bool = False,
    sources: tuple[Source, ...] = MARKED,
) -> Suite:
    """Measure sums such as ``What is 7 + 15 - 4?`` by a marked number; difficulty as in the task.

    Args:
        load: gives held-out problems.
        num_problems: how many.
        min_terms: least number of operands.
        max_terms: greatest number of operands.
        min_value: least operand.
        max_value: greatest operand.
        operations: any of ``+``, ``-`` and ``*``.
        allow_negative: whether the answer, or any running total, may be below zero.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    problems = load(
        "arithmetic",
        num_problems=num_problems,
        min_terms=min_terms,
        max_terms=max_terms,
        min_value=min_value,
        max_value=max_value,
        operations=operations,
        allow_negative=allow_negative,
    )
    metric = reading(number_in_answer, sources)
    return Suite(name="arithmetic", problems=problems, metric=metric, template="r1_zero", max_new_tokens=96)


def addition_two_digit(*, load: LoadHeldout, num_problems: int = 300) -> Suite:
    """Measure ``What is 47 + 38?`` by the last number said: for models that were never told how to answer.

    Args:
        load: gives held-out problems.
        num_problems: how many, out of some 400.
    """
    problems = load(
        "arithmetic",
        num_problems=num_problems,
        min_terms=2,
        max_terms=2,
        min_value=10,
        max_value=99,
        operations="+",
    )
    return Suite(name="addition_two_digit", problems=problems, metric=last_number, template="chat", max_new_tokens=32)


def countdown(
    *,
    load: LoadHeldout,
    num_problems: int = 400,
    num_numbers: int = 3,
    min_value: int = 1,
    max_value: int = 20,
    max_target: int = 100,
    operations: str = "+-*/",
    sources: tuple[Source, ...] = MARKED,
) -> Suite:
    """Measure Countdown by a marked expression that reaches the target; difficulty as in the task.

    Args:
        load: gives held-out problems.
        num_problems: how many.
        num_numbers: how many numbers are given.
        min_value: least number.
        max_value: greatest number.
        max_target: greatest target.
        operations: those that a solution is known to need, any of ``+ - * /``.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    problems = load(
        "countdown",
        num_problems=num_problems,
        num_numbers=num_numbers,
        min_value=min_value,
        max_value=max_value,
        max_target=max_target,
        operations=operations,
    )
    metric = reading(countdown_solved, sources)
    return Suite(name="countdown", problems=problems, metric=metric, template="r1_zero", max_new_tokens=256)
