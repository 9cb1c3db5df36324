"""Check the letter of a multiple-choice question."""

import re
from collections.abc import Mapping

from reasonrl import Problem, Rollout, Score
from reasonrl_grading.answers import MARKED_AND_PROSE, Source, read_answer
from reasonrl_rewards.found import ANSWERED, no_answer
from reasonrl_rewards.text import normalized

_WRAPPED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox|boxed)\s?\{(?P<inside>[^{}]*)\}|\$(?P<math>[^$]*)\$")
_LETTER = re.compile(
    r"(?:(?:option|choice|answer)\s+)?"
    r"(?:[(\[]\s?(?P<framed>[A-Za-z])\s?[)\]][.:]?|(?P<bare>[A-Za-z])\s?(?P<mark>[).:]|\s[-–](?=\s))?)"
    r"(?:\s+(?P<rest>\S.*))?",
    re.IGNORECASE | re.DOTALL,
)
_ANOTHER = re.compile(r"\b(?:or|and|both|either|option|choice)\b|(?<![\w'])[B-H](?![\w'])|\([Aa]\)|(?<![\w'])A[).:]")


def multiple_choice(rollout: Rollout, *, sources: tuple[Source, ...] = MARKED_AND_PROSE) -> Score:
    r"""1 if the answer names the right choice and no other, else 0.

    The letter may be written ``B``, ``(b)``, ``B.``, ``\text{B}``, ``option B`` or ``B) 5 cm``. Where the problem
    has its choices in ``meta["choices"]`` (a list, or a mapping by letter), the text of a choice is as good as
    its letter, and a letter with another choice's text is wrong. Guessing one of n letters pays 1/n.

    Args:
        rollout: what is scored; its problem's answer is a letter, or the text of a choice.
        sources: where an answer may be, in this order; the first source that has one counts.
    """
    choices = _choices(rollout.problem)
    wanted = _named(rollout.problem.answer, choices)
    if wanted is None or (choices and wanted not in choices):
        return Score.unscorable(f"the problem's answer {rollout.problem.answer[:80]!r} names none of its choices")
    given = read_answer(rollout, sources)
    if given is None:
        return no_answer(rollout, sources)
    named = _named(given, choices)
    if named is None:
        return Score(0.0, f"answered {given[:80]!r}, which names no single choice", parts=ANSWERED)
    return Score(float(named == wanted), f"answered {given[:80]!r}, which is {named}; wanted {wanted}", parts=ANSWERED)


def _choices(problem: Problem) -> dict[str, str]:
    choices = problem.meta.get("choices")
    if isinstance(choices, Mapping):
        return {str(letter).upper(): normalized(str(text)) for letter, text in choices.items()}
    if isinstance(choices, list | tuple):
        return {chr(ord("A") + index): normalized(str(text)) for index, text in enumerate(choices)}
    return {}


def _named(answer: str, choices: Mapping[str, str]) -> str | None:
    """Return the letter of the one choice that an answer names, or None."""
    bare = _WRAPPED.sub(lambda match: match["inside"] or match["math"] or "", answer[:2_000]).strip(" *_`\n")
    texts = [letter for letter, text in choices.items() if text and text == normalized(bare)]
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
        return is_marked and choices.get(letter) == normalized(rest)
    return is_marked and not _ANOTHER.search(rest)
