r"""Are two mathematical answers the same?

`compare_answers` decides in tiers, cheapest first: **exact** (plain numbers, equal texts), **algebra** (a parser for
LaTeX, plain text and Unicode, whose trees are compared by exact arithmetic and ball arithmetic with proven bounds),
**text** (words), and, where it is asked for, **symbolic** (sympy, which is given those trees, for what values leave
open). All limits are checked before any work: without the symbolic tier every pair ends within tens of milliseconds,
and no text is ever executed. What graders disagree on is in `Policy`.

Left out: solving inequalities that are not linear, and congruences beyond their residues.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from reasonrl_grading.answers.statements import stated_value
from reasonrl_grading.compare import same, same_answers
from reasonrl_grading.decimals import same_numbers
from reasonrl_grading.layout import MAX_LENGTH, clean
from reasonrl_grading.logic import Truth
from reasonrl_grading.matrices import worked_out
from reasonrl_grading.nodes import Node, Number, Words
from reasonrl_grading.normalize import normalized
from reasonrl_grading.parser import parse
from reasonrl_grading.policy import DEFAULT, PercentPolicy, Policy, UnitsPolicy
from reasonrl_grading.rules import Rules

__all__ = ["Comparison", "PercentPolicy", "Policy", "Tier", "UnitsPolicy", "compare_answers", "is_readable"]

Tier: TypeAlias = Literal["exact", "algebra", "text", "symbolic"]
"""How a comparison was decided."""

_INSIGNIFICANT_SPACE = re.compile(r"(?<![0-9])\s+|\s+(?![0-9])")

_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2}")

_SERIES = re.compile(r"\\(?:sum|prod|int)(?![a-zA-Z])")

MAX_SERIES: Final = 8
"""Sums, products and integrals of an answer that is read: each may take as long as all else in it."""

MAX_SHOWN: Final = 80
"""Characters of an answer that a reason quotes."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether an answer is right, and why."""

    right: bool | None
    """None where the wanted answer itself cannot be read, or where neither equality nor a difference could be shown."""
    why: str
    """One line for people."""
    tier: Tier


class _Answer(NamedTuple):
    text: str
    node: Node | None
    """None where it cannot be read."""


def compare_answers(
    given: str, wanted: str, policy: Policy = DEFAULT, *, question: str = "", symbolic: bool = False
) -> Comparison:
    """Say whether an answer is the wanted one.

    Never raises on any text and never executes one. Symmetric but for the policies about the wanted side.

    Args:
        given: the answer alone, without the reasoning before it.
        wanted: the right answer.
        policy: what counts as the same where reasonable people differ.
        question: the text of the problem, which tells whether a percentage is asked for, and the order of unknowns.
        symbolic: whether sympy may decide what values leave open. It has no time limit of its own.
    """
    if given.isdecimal() and wanted.isdecimal() and max(len(given), len(wanted)) <= MAX_SHOWN:
        return _comparison(int(given) == int(wanted), given, wanted, "exact")
    target = _read_wanted(wanted)
    if not target.text:
        return Comparison(None, "the wanted answer is empty", "exact")
    answer = _read(given)
    if answer.text == target.text:
        return _comparison(True, given, wanted, "exact")
    if isinstance(answer.node, Number) and isinstance(target.node, Number):
        return _comparison(same_numbers(answer.node, target.node, policy), answer.text, target.text, "exact")
    if _WORD.search(given) and (value := stated_value(given)) != given:
        answer = _read(value)
    if not answer.text:
        why = "the answer is empty" if len(given) <= MAX_LENGTH else "the answer is too long"
        return Comparison(False, why, "exact")
    return _compare(answer, target, Rules(policy, same, None, question, wanted), symbolic)


def is_readable(wanted: str) -> bool:
    """Whether an answer can be compared with by more than its text."""
    return _read_wanted(wanted).node is not None


# Cached because the wanted answer of a problem is read again for each of its completions.
@lru_cache(maxsize=4096)
def _read_wanted(text: str) -> _Answer:
    return _read(text)


def _read(text: str) -> _Answer:
    if len(text) > MAX_LENGTH:
        return _Answer("", None)
    cleaned = text if text.isascii() and text.isdecimal() else clean(text)
    is_too_long = "\\" in cleaned and len(_SERIES.findall(cleaned)) > MAX_SERIES
    node = None if is_too_long else parse(cleaned)
    if node is None:
        return _Answer(cleaned, None)
    node = normalized(node, cleaned)
    return _Answer(cleaned, worked_out(node) if "\\begin" in cleaned or "[[" in cleaned else node)


def _compare(answer: _Answer, target: _Answer, rules: Rules, symbolic: bool) -> Comparison:
    given, wanted = answer.text, target.text
    if isinstance(answer.node, Number) and isinstance(target.node, Number):
        return _comparison(same_numbers(answer.node, target.node, rules.policy), given, wanted, "exact")
    if answer.node is None or target.node is None:
        return _compare_unreadable(answer, target)
    tier: Tier = "text" if isinstance(target.node, Words) else "algebra"
    truth = same_answers(answer.node, target.node, rules)
    if truth is None and symbolic:
        from reasonrl_grading.symbolic import settled  # sympy takes a second to import

        tier, truth = "symbolic", same_answers(answer.node, target.node, rules._replace(settle=settled))
    return _comparison(truth, given, wanted, tier)


def _compare_unreadable(answer: _Answer, target: _Answer) -> Comparison:
    """Decide where an answer could not be read: by the text."""
    given, wanted = answer.text, target.text
    if isinstance(target.node, Words):
        return _comparison(False, given, wanted, "text")
    if _INSIGNIFICANT_SPACE.sub("", given) == _INSIGNIFICANT_SPACE.sub("", wanted):
        return _comparison(True, given, wanted, "exact")
    if target.node is None:
        return Comparison(None, f"the wanted answer {wanted[:MAX_SHOWN]!r} cannot be read", "algebra")
    why = f"the answer {given[:MAX_SHOWN]!r} cannot be read, wanted {wanted[:MAX_SHOWN]!r}"
    return Comparison(False, why, "algebra")


def _comparison(right: Truth, given: str, wanted: str, tier: Tier) -> Comparison:
    verdict = "cannot tell whether they are equal: " if right is None else ""
    return Comparison(right, f"{verdict}answered {given[:MAX_SHOWN]!r}, wanted {wanted[:MAX_SHOWN]!r} ({tier})", tier)
