"""What the suites of this package measure with."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from reasonrl import DataError, Measurement, MetricFn, Rollout
from reasonrl.answers import countdown_numbers, read_answer, same_number, solves_countdown
from reasonrl.grading import grade

MetricName: TypeAlias = Literal["answer_match", "countdown_solved", "last_number", "number_in_answer"]


def number_in_answer(rollout: Rollout) -> Measurement:
    r"""1 if the right number stands in an answer tag, a ``\boxed{}`` or after ``####``; strict."""
    given = read_answer(rollout)
    return Measurement(float(given is not None and same_number(given, rollout.problem.answer)), given)


def last_number(rollout: Rollout) -> Measurement:
    """1 if the last number of the text is the right one, marked as the answer or not; lenient."""
    given = read_answer(rollout, ("last_number",))
    return Measurement(float(given is not None and same_number(given, rollout.problem.answer)), given)


def countdown_solved(rollout: Rollout) -> Measurement:
    """1 if the marked answer is an expression over exactly the given numbers that equals the target."""
    asked = countdown_numbers(rollout.problem)
    if asked is None:
        raise DataError(
            f"metric 'countdown_solved': problem {rollout.problem.id} of task {rollout.problem.task!r} needs "
            "whole meta['numbers'] and a whole number as its answer."
        )
    given = read_answer(rollout)
    return Measurement(float(given is not None and bool(solves_countdown(given, *asked))), given)


def answer_match(rollout: Rollout) -> Measurement:
    """1 if the marked answer is mathematically the right one, as ``reasonrl.grading`` decides without its slow tier."""
    given = read_answer(rollout)
    return Measurement(float(given is not None and grade(given, rollout.problem.answer).right is True), given)


METRICS: Mapping[MetricName, MetricFn] = {
    "answer_match": answer_match,
    "countdown_solved": countdown_solved,
    "last_number": last_number,
    "number_in_answer": number_in_answer,
}
"""The metrics that a suite file may name."""
