"""Which of several marked answers counts: marks that answer together are one answer, of others the last one does."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from reasonrl_grading.answers.denials import is_meant, with_alternatives
from reasonrl_grading.answers.numbers import same_number

MAX_MARKS: Final = 64
"""Marks that are examined, from the end."""

MAX_DENIED: Final = 8
"""Answers that are examined, from the end, for one that the text stands by."""

MAX_FORMS: Final = 4
"""Marks that are compared by value; of more than these, equal texts and equal numbers are one."""

MAX_GAP: Final = 120
"""Characters between two marks that may answer together."""

_SIGNS = re.compile(r"\\[()\[\]]|[$*_`}]|\\(?:,|;|!|quad|qquad|text\s?\{|left|right)")
_EITHER = re.compile(r"\b(?:or|maybe|perhaps|possibly|alternatively|either|otherwise)\b", re.IGNORECASE)
_SETTLES = re.compile(
    r"\b(?:so|thus|hence|therefore|then|giv(?:es?|ing)|finally|final|total|answer|result|wait|no|not|actually|rather"
    r"|instead|correct(?:ion|ed)?|sorry|simplif\w*|which|because|since|check|verify|again)\b|[→⇒]"
    r"|\\(?:implies|to|rightarrow|Rightarrow)\b",
    re.IGNORECASE,
)
_EQUALS = re.compile(r"\s*(=|≈|\\approx)\s*")
_SENTENCE_END = re.compile(r"[.!?][\"')]*\s+\S|\n")
_LABEL = re.compile(
    r"[\s.,;:]*(?:[-•]|[({\[]?\w{1,3}[)}\].:]|(?:part|question)\s\w{1,3}\b)?\s*(?:[^\s\d]\S*\s*){0,3}[:=]?\s*",
    re.IGNORECASE,
)


class Mark(NamedTuple):
    """A marked answer and where its mark begins and ends in the text."""

    start: int
    end: int
    answer: str


def last_meant(text: str, marks: Sequence[Mark]) -> str | None:
    r"""Return the last marked answer that the text stands by, or None.

    Marks that answer together, as the boxes of ``$x=\boxed{3}$ and $y=\boxed{4}$`` or those of a list, are one answer,
    ``3, 4``; those between which the text offers a choice are ``3 or 4``.

    Args:
        text: what the marks stand in.
        marks: in the order of the text.
    """
    rest = marks[-MAX_MARKS:]
    for _ in range(MAX_DENIED):
        group = _last_group(text, rest)
        if not group or (answer := _meant(text, group)) is not None:
            return answer if group else None
        rest = rest[: -len(group)]
    return None


def only_meant(text: str, marks: Sequence[Mark]) -> str | None:
    """Return the one answer of all marks of a text, or None where they are several, none, or denied."""
    group = _last_group(text, marks[-MAX_MARKS:])
    return _meant(text, group) if group and len(group) == len(marks) else None


def _meant(text: str, group: Sequence[Mark]) -> str | None:
    """Return the answer of marks that answer together, or None where the text does not stand by it."""
    answer, start, end = _joined(text, group), group[0].start, group[-1].end
    return with_alternatives(text, start, end, answer) if is_meant(text, start, end, answer) else None


def _last_group(text: str, marks: Sequence[Mark]) -> Sequence[Mark]:
    """Return the last mark with those before it that it answers together with."""
    first = len(marks) - 1
    while first > 0 and _joint(text[marks[first - 1].end : marks[first].start]) is not None:
        first -= 1
    return marks[max(first, 0) :]


def _joined(text: str, group: Sequence[Mark]) -> str:
    """Return the different answers of marks with what joins them."""
    joined = group[0].answer
    for number, mark in enumerate(group[1:], start=1):
        if not any(_are_same(mark.answer, earlier.answer, len(group)) for earlier in group[:number]):
            joined += (_joint(text[group[number - 1].end : mark.start]) or ", ") + mark.answer
    return joined


def _are_same(one: str, other: str, num_marks: int) -> bool:
    """Whether two marks hold one answer, which one of a few may repeat in another form."""
    from reasonrl_grading import compare_answers  # it reads sentences with this package

    if one == other or same_number(one, other):
        return True
    return num_marks <= MAX_FORMS and compare_answers(one, other).right is True


def _joint(gap: str) -> str | None:
    """Return what joins two marks by the text between them: an alternative, a list, an equation, or nothing."""
    if len(gap) > MAX_GAP:
        return None
    plain = _SIGNS.sub(" ", gap)
    if equals := _EQUALS.fullmatch(plain):
        return f" {equals[1]} "
    if _EITHER.search(plain):
        return " or "
    if _SETTLES.search(plain):
        return None
    return ", " if not _SENTENCE_END.search(plain) or _LABEL.fullmatch(plain) else None
