r"""Are two mathematical answers the same?

`grade` decides in tiers, cheapest first: **exact** (plain numbers, equal texts), **algebra** (an own parser for LaTeX,
plain text and unicode, whose trees are compared by exact arithmetic and proven balls), **text** (words), and, where it
is asked for, **slow** (math-verify for what the parser cannot read). Whatever is bounded is bounded before any work:
without the slow tier every pair ends within tens of milliseconds, and no text is ever executed. What graders disagree
on is in `Policy`.

Left out: solving equations that are not linear, powers of matrices, congruences beyond their residues. Limits, infinite
sums and integrals that are not cheap to compute stand for themselves: they are compared by their text.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from reasonrl.grading.compare import same_answers
from reasonrl.grading.nodes import Node, Number, Words
from reasonrl.grading.numbers import same_numbers
from reasonrl.grading.policy import DEFAULT, PercentPolicy, Policy, UnitsPolicy
from reasonrl.grading.reader import read
from reasonrl.grading.settling import settled
from reasonrl.grading.slow import is_beyond_the_parser, is_fit, same_by_math_verify
from reasonrl.grading.tokens import MAX_LENGTH, clean

__all__ = ["PercentPolicy", "Policy", "Tier", "UnitsPolicy", "Verdict", "grade", "is_readable"]

Tier: TypeAlias = Literal["exact", "algebra", "text", "slow"]
"""What decided."""

_WIDE_SPACE = re.compile(r"(?<![0-9])\s+|\s+(?![0-9])")

SHOWN: Final = 80
"""Characters of an answer that a verdict quotes."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is right, and why."""

    right: bool | None
    """None where the wanted answer itself cannot be read."""
    why: str
    """One line for people."""
    tier: Tier
    """What decided."""


class _Answer(NamedTuple):
    """An answer as it was read."""

    text: str
    node: Node | None


def grade(given: str, wanted: str, policy: Policy = DEFAULT, *, slow: bool = False) -> Verdict:
    """Say whether an answer is the wanted one.

    Never raises on any text and never executes one. It is symmetric but for the policies about the wanted side.

    Args:
        given: the answer alone, without the reasoning before it.
        wanted: the right answer.
        policy: what counts as the same where reasonable people differ.
        slow: whether math-verify may decide on notation that the own parser does not read; it has no bound on time of
            its own.
    """
    if given.isdecimal() and wanted.isdecimal() and max(len(given), len(wanted)) <= SHOWN:
        return _verdict(int(given) == int(wanted), given, wanted, "exact")
    target = _wanted(wanted)
    if not target.text:
        return Verdict(None, "the wanted answer is empty", "exact")
    answer = _read(given)
    if answer.text == target.text:
        return _verdict(True, given, wanted, "exact")
    if not answer.text:
        return Verdict(False, "the answer is empty" if len(given) <= MAX_LENGTH else "the answer is too long", "exact")
    return _compared(answer, target, policy, slow)


def is_readable(wanted: str) -> bool:
    """Whether an answer can be graded against by more than its text."""
    return _wanted(wanted).node is not None


@lru_cache(maxsize=4096)
def _wanted(text: str) -> _Answer:
    """Read a wanted answer, which comes back for every completion of its problem."""
    return _read(text)


def _read(text: str) -> _Answer:
    """Read an answer; one that is too long is read as nothing."""
    if len(text) > MAX_LENGTH:
        return _Answer("", None)
    cleaned = clean(text)
    node = read(cleaned)
    return _Answer(cleaned, None if node is None else settled(node, cleaned))


def _compared(answer: _Answer, target: _Answer, policy: Policy, slow: bool) -> Verdict:
    """Compare two answers that are not the same text."""
    given, wanted = answer.text, target.text
    if isinstance(answer.node, Number) and isinstance(target.node, Number):
        return _verdict(same_numbers(answer.node, target.node, policy), given, wanted, "exact")
    if answer.node is None or target.node is None:
        return _unread(answer, target, slow)
    tier: Tier = "text" if isinstance(target.node, Words) else "algebra"
    return _verdict(same_answers(answer.node, target.node, policy), given, wanted, tier)


def _unread(answer: _Answer, target: _Answer, slow: bool) -> Verdict:
    """Decide where an answer could not be read: by math-verify, or by the text."""
    given, wanted = answer.text, target.text
    if isinstance(target.node, Words):
        return _verdict(False, given, wanted, "text")
    if slow and is_fit(given) and is_fit(wanted) and (is_beyond_the_parser(given) or is_beyond_the_parser(wanted)):
        verdict = same_by_math_verify(given, wanted)
        if verdict is not None:
            return _verdict(verdict, given, wanted, "slow")
    if _WIDE_SPACE.sub("", given) == _WIDE_SPACE.sub("", wanted):
        return _verdict(True, given, wanted, "exact")
    if target.node is None:
        return Verdict(None, f"the wanted answer {wanted[:SHOWN]!r} cannot be read", "algebra")
    return Verdict(False, f"the answer {given[:SHOWN]!r} cannot be read, wanted {wanted[:SHOWN]!r}", "algebra")


def _verdict(right: bool, given: str, wanted: str, tier: Tier) -> Verdict:
    """Return a verdict that quotes both answers."""
    return Verdict(right, f"answered {given[:SHOWN]!r}, wanted {wanted[:SHOWN]!r} ({tier})", tier)
