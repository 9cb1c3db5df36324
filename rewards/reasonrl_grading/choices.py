"""Read which choice of a multiple-choice question an answer names."""

import re
from collections.abc import Mapping

from reasonrl import Problem
from reasonrl_grading.squad import squad_normalized

_WRAPPED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|boxed)\s?\{(?P<inside>[^{}]*)\}|\$(?P<math>[^$]*)\$")
_LETTER = re.compile(
    r"(?:(?:option|choice|answer)\s+)?"
    r"(?:[(\[]\s?(?P<framed>[A-Za-z])\s?[)\]][.:]?|(?P<bare>[A-Za-z])\s?(?P<mark>[).:]|\s[-–](?=\s))?)"
    r"(?:\s+(?P<rest>\S.*))?",
    re.IGNORECASE | re.DOTALL,
)
_ANOTHER = re.compile(r"\b(?:or|and|both|either|option|choice)\b|(?<![\w'])[B-H](?![\w'])|\([Aa]\)|(?<![\w'])A[).:]")


def choices_of(problem: Problem) -> dict[str, str]:
    """Return the choices in ``meta["choices"]``, a list or a mapping, by letter and normalized; none where none are."""
    choices = problem.meta.get("choices")
    if isinstance(choices, Mapping):
        return {str(letter).upper(): squad_normalized(str(text)) for letter, text in choices.items()}
    if isinstance(choices, list | tuple):
        return {chr(ord("A") + index): squad_normalized(str(text)) for index, text in enumerate(choices)}
    return {}


def named_choice(answer: str, choices: Mapping[str, str]) -> str | None:
    """Return the letter of the one choice that an answer names, or None."""
    bare = _WRAPPED.sub(lambda match: match["inside"] or match["math"] or "", answer[:2_000]).strip(" *_`\n")
    texts = [letter for letter, text in choices.items() if text and text == squad_normalized(bare)]
    if texts:
        return texts[0] if len(texts) == 1 else None
    match = _LETTER.fullmatch(bare)
    if match is None:
        return None
    letter = (match["framed"] or match["bare"]).upper()
    return letter if _agrees(letter, match["rest"], choices, is_marked=bool(match["framed"] or match["mark"])) else None


def _agrees(letter: str, rest: str | None, choices: Mapping[str, str], *, is_marked: bool) -> bool:
    """Whether the text after a letter is the letter's own choice, not another one or a sentence."""
    if rest is None:
        return True
    if choices:
        return is_marked and choices.get(letter) == squad_normalized(rest)
    return is_marked and not _ANOTHER.search(rest)
