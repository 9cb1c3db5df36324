r"""Find the answer in a completion.

Each source gives one candidate or none, and the first source with a candidate decides, so a list of guesses
is one candidate and never several. Of several boxes or phrases the last one counts: ``\boxed{1} and \boxed{2}``
answers 2.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from reasonrl import Rollout
from reasonrl_grading.answers.boxes import boxed, only_box, unwrapped
from reasonrl_grading.answers.numbers import last_number
from reasonrl_grading.answers.prose import announced, conclusion, is_answer, last_line, phrase

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
    """Return the answer of a completion; text after a ``<think>`` at the end of the prompt counts as thinking."""
    return extract_answer(with_opening_tag(rollout), sources)


def with_opening_tag(rollout: Rollout) -> str:
    """Return the completion, after the ``<think>`` that the template put at the end of the prompt, if any."""
    return "<think>" + rollout.text if rollout.prompt.rstrip().endswith("<think>") else rollout.text


def extract_answer(text: str, sources: Sequence[Source] = MARKED) -> str | None:
    """Return the last answer outside thinking from the first source that has one, or None.

    Args:
        text: a completion.
        sources: where to look, in this order.
    """
    shown = outside_thinking(text)
    found = (_READERS[source](shown) for source in sources)
    return next((answer for answer in found if answer), None)


def outside_thinking(text: str) -> str:
    """Return the text without its thinking.

    ``<think>`` hides what follows up to ``</think>``, or up to the end. A ``</think>`` that nothing opened
    hides everything before it, because the template opened the thinking.
    """
    shown: list[str] = []
    thinking = False
    for part in re.split(r"(</?think>)", text):
        if part == "</think>" and not thinking:
            shown.clear()
        if part in ("<think>", "</think>"):
            thinking = part == "<think>"
        elif not thinking:
            shown.append(part)
    return "\n".join(shown)


def _in_answer_tag(text: str) -> str | None:
    """Return what the last complete answer tag holds, or what the only box in it holds."""
    found = _ANSWER_TAG.findall(text)
    return announced(only_box(found[-1].strip())) if found else None


def _in_box(text: str) -> str | None:
    """Return what the last box to close holds."""
    answer = boxed(text)
    return announced(answer) if answer is not None else None


def _after_hash(text: str) -> str | None:
    """Return the rest of the last line that begins with ``####`` and is no heading."""
    lines = list(_HASH.finditer(text))
    has_text_below = bool(lines) and bool(text[lines[-1].end() :].strip())
    for line in reversed(lines):
        answer = announced(unwrapped(line["answer"].strip("*` \t\r")))
        if not _is_heading(answer, has_text_below=has_text_below):
            return answer
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
