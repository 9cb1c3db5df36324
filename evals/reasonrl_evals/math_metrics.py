"""Metrics of mathematical suites whose answers are more than one exact value, and what maj@k counts by."""

from collections.abc import Mapping
from typing import Final

from reasonrl import DataError, Measurement, MetricFn, Problem, Rollout
from reasonrl_grading import Policy, compare_answers
from reasonrl_grading.answers import MARKED, Source, as_number, read_answer

MINERVA_TOLERANCE: Final = 0.01
"""Relative difference that Minerva (arXiv:2206.14858) allows a number."""


def equal_answers(given: str, other: str) -> bool:
    """Whether two answers are mathematically the same, by ``reasonrl_grading`` without its symbolic tier."""
    return given == other or compare_answers(given, other).right is True


def answer_within(
    rollout: Rollout, *, tolerance: float = MINERVA_TOLERANCE, sources: tuple[Source, ...] = MARKED
) -> Measurement:
    """1 if the marked answer is mathematically the right one; decimals may differ by a share of the greater one.

    Args:
        rollout: what is measured.
        tolerance: greatest relative difference of two numbers of which one is written as a decimal.
        sources: where the answer may be, in this order.
    """
    return _measured(rollout, Policy(tolerance=tolerance), sources)


def olympiad_match(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED) -> Measurement:
    """1 if the marked answers are all those of a problem of OlympiadBench, within its error.

    ``meta["error"]`` is the greatest absolute difference of a number, ``meta["unit"]`` a unit that may follow it.

    Raises:
        DataError: the error is no number.
    """
    return _measured(rollout, Policy(tolerance=_relative_error(rollout)), sources)


def _measured(rollout: Rollout, policy: Policy, sources: tuple[Source, ...]) -> Measurement:
    given, problem = read_answer(rollout, sources), rollout.problem
    wanted = _with_unit(problem)
    is_right = given is not None and compare_answers(given, wanted, policy, question=problem.prompt).right is True
    return Measurement(float(is_right), given)


def _with_unit(problem: Problem) -> str:
    """Return the answer with the unit that the problem states, where that is one which an answer may leave out."""
    unit = problem.meta.get("unit")
    whole = f"{problem.answer} {unit}" if isinstance(unit, str) and unit.strip() else problem.answer
    return whole if compare_answers(problem.answer, whole).right else problem.answer


def _relative_error(rollout: Rollout) -> float:
    """Return the error of a problem as a share of its answer; of several answers the least."""
    stated = rollout.problem.meta.get("error")
    if stated in (None, ""):
        return 0.0
    errors = [_number(rollout, part) for part in str(stated).split(",")]
    values = [as_number(part) for part in rollout.problem.answer.split(",")]
    if len(errors) == 1:
        errors *= len(values)
    if len(errors) != len(values) or None in values:
        return 0.0  # an expression: its error cannot be told as a share
    return min((error / abs(float(value)) for error, value in zip(errors, values, strict=True) if value), default=0.0)


def _number(rollout: Rollout, text: str) -> float:
    value = as_number(text)
    if value is None:
        raise DataError(f"metric 'olympiad_match': problem {rollout.problem.id}: meta['error'] is {text!r}, no number.")
    return float(value)


METRICS: Final[Mapping[str, MetricFn]] = {"answer_within": answer_within, "olympiad_match": olympiad_match}
"""By name."""
