"""What the suites of this package measure with."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol

from reasonrl import DataError, Measurement, MetricFn, Rollout, SandboxError, SharedResource, keeps_open
from reasonrl_grading import compare_answers
from reasonrl_grading.answers import (
    FENCED,
    MARKED,
    ProgramSource,
    Source,
    countdown_numbers,
    read_answer,
    read_program,
    same_number,
    solves_countdown,
)
from reasonrl_sandbox import (
    ProgramLimits,
    SandboxSpec,
    close_shared,
    judge,
    problem_limits,
    problem_tests,
    shared_sandbox,
)

SENT_PER_SLOT: Final = 2
"""Programs under way for each that runs: one is sent, or judged, while another runs."""

PROGRAM_TIMEOUT_S: Final = 600.0
"""Longest time for one program and its tests. Each of their processes is stopped long before, by the sandbox."""


USUAL_LIMITS: Final = ProgramLimits()


class ReadingMetric(Protocol):
    """A metric of the answer that it finds in a completion."""

    def __call__(self, rollout: Rollout, *, sources: tuple[Source, ...] = ...) -> Measurement:
        """Measure a rollout whose answer may be in these places, in this order."""
        ...


def reading(metric: ReadingMetric, sources: tuple[Source, ...]) -> MetricFn:
    """Return a metric that looks for the answer in these places, in this order."""
    return metric if sources == MARKED else partial(metric, sources=sources)


def number_in_answer(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED) -> Measurement:
    r"""1 if the right number stands in an answer tag, a ``\boxed{}`` or after ``####``; strict."""
    given = read_answer(rollout, sources)
    return Measurement(float(given is not None and same_number(given, rollout.problem.answer)), given)


def last_number(rollout: Rollout) -> Measurement:
    """1 if the last number of the text is the right one, marked as the answer or not; lenient."""
    given = read_answer(rollout, ("last_number",))
    return Measurement(float(given is not None and same_number(given, rollout.problem.answer)), given)


def countdown_solved(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED) -> Measurement:
    """1 if the marked answer is an expression over exactly the given numbers that equals the target."""
    asked = countdown_numbers(rollout.problem)
    if asked is None:
        raise DataError(
            f"metric 'countdown_solved': problem {rollout.problem.id} of task {rollout.problem.task!r} needs "
            "whole meta['numbers'] and a whole number as its answer."
        )
    given = read_answer(rollout, sources)
    return Measurement(float(given is not None and bool(solves_countdown(given, *asked))), given)


def answer_match(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED) -> Measurement:
    """1 if the marked answer is mathematically the right one, by ``reasonrl_grading`` without its symbolic tier."""
    given, problem = read_answer(rollout, sources), rollout.problem
    is_right = given is not None and compare_answers(given, problem.answer, question=problem.prompt).right is True
    return Measurement(float(is_right), given)


@contextmanager
def _sandbox(spec: SandboxSpec) -> Iterator[SharedResource]:
    """Keep the sandbox open while a model is measured."""
    try:
        yield SharedResource(slots=SENT_PER_SLOT * shared_sandbox(spec).slots, timeout_s=PROGRAM_TIMEOUT_S)
    finally:
        close_shared(spec)


@keeps_open(_sandbox)
async def all_tests_pass(
    rollout: Rollout,
    *,
    spec: SandboxSpec,
    sources: Sequence[ProgramSource] = FENCED,
    limits: ProgramLimits = USUAL_LIMITS,
    fixed: Collection[str] = (),
) -> Measurement:
    """1 if the program passes all tests of its problem in the sandbox; the mean over problems is pass@1.

    Args:
        rollout: what is measured.
        spec: the sandbox.
        sources: where the program may stand, in this order.
        limits: what its processes may use, where the problem does not say: ``meta["limits"]``.
        fixed: names of limits that hold whatever the problem says.

    Raises:
        DataError: the problem's tests cannot be used.
        SandboxError: the sandbox failed, twice: there is no figure without it.
    """
    tests, program = problem_tests(rollout.problem), read_program(rollout, sources)
    if program is None:
        return Measurement(0.0)
    own = problem_limits(rollout.problem, limits, fixed=fixed)
    result = await asyncio.to_thread(judge, shared_sandbox(spec), program, tests, limits=own)
    if result.outcome == "sandbox_error":
        raise SandboxError(f"metric 'all_tests_pass': problem {rollout.problem.id} could not be run: {result.detail}")
    return Measurement(float(result.outcome == "passed"), program)


METRICS: Mapping[str, MetricFn] = {
    "answer_match": answer_match,
    "countdown_solved": countdown_solved,
    "last_number": last_number,
    "number_in_answer": number_in_answer,
}
"""The metrics without parameters, by name."""
