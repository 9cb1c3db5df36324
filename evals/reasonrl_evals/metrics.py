"""What the suites of this package measure with."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from reasonrl import DataError, Measurement, MetricFn, Rollout, SandboxError
from reasonrl.answers import (
    FENCED,
    ProgramSource,
    countdown_numbers,
    read_answer,
    read_program,
    same_number,
    solves_countdown,
)
from reasonrl.grading import grade
from reasonrl.sandbox import Limits, Place, judge, problem_tests, shared_sandbox

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


def all_tests_pass(
    rollout: Rollout, *, place: Place, sources: Sequence[ProgramSource] = FENCED, limits: Limits | None = None
) -> Measurement:
    """1 if the program passes all tests of its problem in the sandbox; the mean over problems is pass@1.

    Raises:
        DataError: the problem's tests cannot be used.
        SandboxError: the sandbox failed, twice: there is no figure without it.
    """
    tests, program = problem_tests(rollout.problem), read_program(rollout, sources)
    if program is None:
        return Measurement(0.0)
    result = judge(shared_sandbox(place), program, tests, limits=limits)
    if result.outcome == "sandbox_error":
        raise SandboxError(f"metric 'all_tests_pass': problem {rollout.problem.id} could not be run: {result.detail}")
    return Measurement(float(result.outcome == "passed"), program)


METRICS: Mapping[MetricName, MetricFn] = {
    "answer_match": answer_match,
    "countdown_solved": countdown_solved,
    "last_number": last_number,
    "number_in_answer": number_in_answer,
}
"""The metrics that a suite file may name."""
