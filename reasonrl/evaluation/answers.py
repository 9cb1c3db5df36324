"""Which samples of a problem give the same answer: what maj@k counts by."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from reasonrl.evaluation.results import SampleResult
from reasonrl.plugins.types import AnswersEqual


def answer_classes(parsed_G: Sequence[str | None], equal: AnswersEqual | None = None) -> tuple[int | None, ...]:
    """Number the answers of one problem's samples in order of appearance; equal ones share a number.

    An answer is compared with the first of each number, so an equivalence that is not transitive is decided by order.

    Args:
        parsed_G: the answer read from each sample; None where there was none.
        equal: whether two answers are the same; None compares them as texts.
    """
    numbers: dict[str, int] = {}
    firsts: list[str] = []
    for answer in parsed_G:
        if answer is None or answer in numbers:
            continue
        same = (number for number, first in enumerate(firsts) if equal is not None and equal(first, answer))
        numbers[answer] = next(same, len(firsts))
        if numbers[answer] == len(firsts):
            firsts.append(answer)
    return tuple(None if answer is None else numbers[answer] for answer in parsed_G)


def with_answer_classes(rows: Iterable[SampleResult], equal: AnswersEqual | None) -> tuple[SampleResult, ...]:
    """Return the rows, in their order, with what :func:`answer_classes` says of each."""
    ordered = tuple(rows)
    places: dict[str, list[int]] = {}
    for place, row in enumerate(ordered):
        places.setdefault(row.problem_id, []).append(place)
    class_of: dict[int, int | None] = {}
    for of_problem in places.values():
        classes = answer_classes([ordered[place].parsed for place in of_problem], equal)
        class_of.update(zip(of_problem, classes, strict=True))
    return tuple(replace(row, answer_class=class_of[place]) for place, row in enumerate(ordered))


def classes_of(samples: Sequence[SampleResult]) -> tuple[int | None, ...]:
    """Return the answers of one problem's samples as they were numbered; without numbers equal texts are one answer."""
    if any(row.answer_class is not None for row in samples):
        return tuple(row.answer_class for row in samples)
    return answer_classes([row.parsed for row in samples])
