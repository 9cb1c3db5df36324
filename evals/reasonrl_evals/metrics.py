"""What the suites of this package measure with."""

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

from reasonrl import DataError, Measurement, MetricFn, Rollout
from reasonrl.answers import countdown_numbers, read_answer, same_number, solves_countdown

MetricName: TypeAlias = Literal["answer_match", "countdown_solved", "last_number", "number_in_answer"]

_SIZING = re.compile(r"\\left(?![a-zA-Z])|\\right(?![a-zA-Z])|\\[,!]|\$|\^\{?\\circ\}?|\.\s*$")
_SPACE = re.compile(r"(?<![0-9])(?:\s|\\[;: ])+|(?:\s|\\[;: ])+(?![0-9])")
_FRACTION = re.compile(r"\\[dt]frac")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox)\{([^{}]*)\}")


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
    r"""1 if the marked answer is the right number, or the right text apart from its layout.

    Layout is white space, letter case, ``\left`` and ``\right``, ``\text{}``, the size of fractions, degree
    signs, and a full stop. Two ways to write one formula are two answers here: ``x+1`` is not ``1+x``.
    """
    given, wanted = read_answer(rollout), rollout.problem.answer
    is_right = given is not None and (same_number(given, wanted) or _plain(given) == _plain(wanted))
    return Measurement(float(is_right), given)


def _plain(answer: str) -> str:
    """Return an answer without its layout; space between digits stays, because ``1 1/2`` is not ``11/2``."""
    unwrapped = _TEXT.sub(r"\1", _FRACTION.sub(r"\\frac", answer))
    return _SPACE.sub("", _SIZING.sub("", unwrapped)).casefold()


METRICS: Mapping[MetricName, MetricFn] = {
    "answer_match": answer_match,
    "countdown_solved": countdown_solved,
    "last_number": last_number,
    "number_in_answer": number_in_answer,
}
"""The metrics that a suite file may name."""
