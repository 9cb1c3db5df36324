r"""Find the answer in a completion.

Each source gives one candidate or none, and the first source with a candidate decides, so a list of guesses is one
candidate and never several. Of several boxes or tags the last one counts, unless they answer together:
``\boxed{1} and \boxed{2}`` answers ``1, 2``. What the text denies, asks, supposes or takes back is no candidate.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from reasonrl import Rollout
from reasonrl_grading.answers.boxes import boxed, only_box, unwrapped
from reasonrl_grading.answers.denials import is_meant
from reasonrl_grading.answers.marks import MAX_MARKS, Mark, last_meant
from reasonrl_grading.answers.numbers import last_number
from reasonrl_grading.answers.prose import announced, conclusion, is_answer, last_line, phrase
from reasonrl_grading.answers.thinking import outside_thinking, shown_text

Source: TypeAlias = Literal["answer_tag", "boxed", "hash", "phrase", "last_line", "conclusion", "last_number", "whole"]
r"""Where an answer may be.

``<answer>x</answer>``, ``\boxed{x}``, ``#### x``, ``the final answer is x``, a last line that is nothing but
an answer, the end of a last sentence such as ``So we get x``, the last number of all, or the whole text.
"""

MARKED: Final[tuple[Source, ...]] = ("answer_tag", "boxed", "hash")
"""The sources that a model must mark as its answer."""

MARKED_AND_PROSE: Final[tuple[Source, ...]] = (*MARKED, "phrase", "last_line", "conclusion")
"""The marked sources, then those that read an answer in prose."""

_ANSWER_TAG = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL)
_HASH = re.compile(r"(?<!#)####(?!#)[ \t]*(?P<answer>\S[^\n]*)")


def read_answer(rollout: Rollout, sources: Sequence[Source] = MARKED) -> str | None:
    """Return the answer of a completion outside its thinking, by the tags of its prompt too; see ``shown_text``."""
    return _first_found(shown_text(rollout), sources)


def extract_answer(text: str, sources: Sequence[Source] = MARKED) -> str | None:
    """Return the last answer outside thinking from the first source that has one, or None.

    Args:
        text: a completion.
        sources: where to look, in this order.
    """
    return _first_found(outside_thinking(text), sources)


def _first_found(shown: str, sources: Sequence[Source]) -> str | None:
    found = (_READERS[source](shown) for source in sources)
    return next((answer for answer in found if answer), None)


def _in_answer_tag(text: str) -> str | None:
    """Return what the last answer tag holds that the text stands by, or what the boxes in it hold."""
    if "<answer>" not in text:
        return None
    tags = deque(_ANSWER_TAG.finditer(text), maxlen=MAX_MARKS)
    marks = [Mark(tag.start(), tag.end(), announced(only_box(tag[1].strip()))) for tag in tags]
    return last_meant(text, [mark for mark in marks if mark.answer])


def _in_box(text: str) -> str | None:
    """Return what the last box to close holds, or the last boxes that answer together."""
    answer = boxed(text)
    return announced(answer) if answer is not None else None


def _after_hash(text: str) -> str | None:
    """Return the rest of the last line that begins with ``####`` and is no heading."""
    lines = list(_HASH.finditer(text))
    has_text_below = bool(lines) and bool(text[lines[-1].end() :].strip())
    for line in reversed(lines):
        answer = announced(unwrapped(line["answer"].strip("*` \t\r")))
        if not _is_heading(answer, has_text_below=has_text_below):
            return answer if is_meant(text, line.start(), line.end(), answer) else None
        has_text_below = True
    return None


def _is_heading(line: str, *, has_text_below: bool) -> bool:
    """Whether a line after ``####`` is a Markdown heading: a label, or words with text below them."""
    return line.endswith(":") or (has_text_below and not is_answer(line))


_READERS: Mapping[Source, Callable[[str], str | None]] = {
    "answer_tag": _in_answer_tag,
    "boxed": _in_box,
    "hash": _after_hash,
    "phrase": phrase,
    "last_line": last_line,
    "conclusion": conclusion,
    "last_number": last_number,
    "whole": lambda text: unwrapped(text.strip()),
}
