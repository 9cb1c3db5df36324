r"""Are two mathematical answers the same?

`compare_answers` decides in tiers, cheapest first: **exact** (plain numbers, equal texts), **algebra** (a parser for
LaTeX, plain text and Unicode, whose trees are compared by exact arithmetic and ball arithmetic with proven bounds),
**text** (words), and, where it is asked for, **slow** (math-verify for what the parser cannot read). All limits are
checked before any work: without the slow tier every pair ends within tens of milliseconds, and no text is ever
executed. What graders disagree on is in `Policy`.

Left out: solving equations that are not linear, powers of matrices, congruences beyond their residues. Limits, infinite
sums and integrals that are not cheap to compute are compared by their text.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from reasonrl_grading.compare import same_answers
from reasonrl_grading.nodes import Node, Number, Words
from reasonrl_grading.normalize import normalized
from reasonrl_grading.numbers import same_numbers
from reasonrl_grading.parser import parse
from reasonrl_grading.policy import DEFAULT, PercentPolicy, Policy, UnitsPolicy
from reasonrl_grading.slow import is_beyond_the_parser, is_fit, same_by_math_verify
from reasonrl_grading.tokens import MAX_LENGTH, clean

__all__ = ["Comparison", "PercentPolicy", "Policy", "Tier", "UnitsPolicy", "compare_answers", "is_readable"]

Tier: TypeAlias = Literal["exact", "algebra", "text", "slow"]
"""How a comparison was decided."""

_INSIGNIFICANT_SPACE = re.compile(r"(?<![0-9])\s+|\s+(?![0-9])")

MAX_SHOWN: Final = 80
"""Characters of an answer that a reason quotes."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether an answer is right, and why."""

    right: bool | None
    """None where the wanted answer itself cannot be read."""
    why: str
    """One line for people."""
    tier: Tier


class _Answer(NamedTuple):
    text: str
    node: Node | None
    """None where it cannot be read."""


def compare_answers(given: str, wanted: str, policy: Policy = DEFAULT, *, slow: bool = False) -> Comparison:
    """Say whether an answer is the wanted one.

    Never raises on any text and never executes one. Symmetric but for the policies about the wanted side.

    Args:
        given: the answer alone, without the reasoning before it.
        wanted: the right answer.
        policy: what counts as the same where reasonable people differ.
        slow: whether math-verify may decide on notation that the parser does not read. It has no time limit of its own.
    """
    if given.isdecimal() and wanted.isdecimal() and max(len(given), len(wanted)) <= MAX_SHOWN:
        return _comparison(int(given) == int(wanted), given, wanted, "exact")
    target = _read_wanted(wanted)
    if not target.text:
        return Comparison(None, "the wanted answer is empty", "exact")
    answer = _read(given)
    if answer.text == target.text:
        return _comparison(True, given, wanted, "exact")
    if not answer.text:
        why = "the answer is empty" if len(given) <= MAX_LENGTH else "the answer is too long"
        return Comparison(False, why, "exact")
    return _compare(answer, target, policy, slow)


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
    cleaned = clean(text)
    node = parse(cleaned)
    return _Answer(cleaned, None if node is None else normalized(node, cleaned))


def _compare(answer: _Answer, target: _Answer, policy: Policy, slow: bool) -> Comparison:
    given, wanted = answer.text, target.text
    if isinstance(answer.node, Number) and isinstance(target.node, Number):
        return _comparison(same_numbers(answer.node, target.node, policy), given, wanted, "exact")
    if answer.node is None or target.node is None:
        return _compare_unreadable(answer, target, slow)
    tier: Tier = "text" if isinstance(target.node, Words) else "algebra"
    return _comparison(same_answers(answer.node, target.node, policy), given, wanted, tier)


def _compare_unreadable(answer: _Answer, target: _Answer, slow: bool) -> Comparison:
    """Decide where an answer could not be read: by math-verify, or by the text."""
    given, wanted = answer.text, target.text
    if isinstance(target.node, Words):
        return _comparison(False, given, wanted, "text")
    if slow and is_fit(given) and is_fit(wanted) and (is_beyond_the_parser(given) or is_beyond_the_parser(wanted)):
        right = same_by_math_verify(given, wanted)
        if right is not None:
            return _comparison(right, given, wanted, "slow")
    if _INSIGNIFICANT_SPACE.sub("", given) == _INSIGNIFICANT_SPACE.sub("", wanted):
        return _comparison(True, given, wanted, "exact")
    if target.node is None:
        return Comparison(None, f"the wanted answer {wanted[:MAX_SHOWN]!r} cannot be read", "algebra")
    why = f"the answer {given[:MAX_SHOWN]!r} cannot be read, wanted {wanted[:MAX_SHOWN]!r}"
    return Comparison(False, why, "algebra")


def _comparison(right: bool, given: str, wanted: str, tier: Tier) -> Comparison:
    return Comparison(right, f"answered {given[:MAX_SHOWN]!r}, wanted {wanted[:MAX_SHOWN]!r} ({tier})", tier)
