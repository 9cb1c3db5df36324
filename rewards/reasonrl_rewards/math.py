"""Check a mathematical answer."""

from functools import lru_cache
from typing import Literal

from reasonrl import Rollout, Score
from reasonrl_grading import PercentPolicy, Policy, UnitsPolicy, compare_answers
from reasonrl_grading.answers import MARKED_AND_PROSE, Source, read_answer
from reasonrl_rewards.found import ANSWERED, no_answer

WORKER_IMPORTS = ("sympy",)
"""Modules that a worker imports when it starts: this one takes a second, too long within the deadline of a call."""

_policy = lru_cache(maxsize=64)(Policy)


def math(
    rollout: Rollout,
    *,
    sources: tuple[Source, ...] = MARKED_AND_PROSE,
    percent: PercentPolicy = "asked",
    units: UnitsPolicy = "optional",
    lists: Literal["any_order", "in_order"] = "any_order",
    brackets: Literal["strict", "ignore"] = "strict",
    assignment: Literal["drop", "keep"] = "drop",
    hedging: Literal["wrong", "last"] = "wrong",
    decimal_digits: int = 5,
    tolerance: float = 0.0,
    ratios: Literal["value", "as_written"] = "value",
    bases: Literal["as_written", "value"] = "as_written",
    case: Literal["ignore", "keep"] = "ignore",
    symbolic: bool = True,
) -> Score:
    r"""1 if the answer is mathematically the right one, else 0.

    Plain numbers are compared exactly, formulas by their values, lists, sets, intervals, relations, systems, functions
    by cases, matrices, units and words each by their own rule; LaTeX, plain text and Unicode are read alike. The
    defaults refuse what a guess could exploit: several answers where one is wanted, a last side that matches, dropped
    bases, swapped letters. Where neither equality nor a difference can be shown, the completion is unscorable.

    Args:
        rollout: what is scored.
        sources: where an answer may be, in this order; the first source that has one counts.
        percent: ``value``: 50% is 0.5 and not 50; ``ignore_sign``: 50% is 50 and not 0.5; ``either``: both; ``asked``:
            ``ignore_sign`` where the question asks for a percentage, else ``value``.
        units: ``optional``: a missing unit is fine, a wrong one is wrong; ``required``; ``ignore``.
        lists: whether a bare list, ``1, 2``, may come in any order.
        brackets: ``strict``: ``(1,2)``, ``[1,2]`` and ``{1,2}`` are three answers; ``ignore``.
        assignment: ``drop``: ``x=5`` is 5; ``keep``: it is not.
        hedging: several answers where one is wanted are ``wrong``, or the ``last`` one counts.
        decimal_digits: significant digits from which a rounded decimal stands for an exact number; 0 for never.
        tolerance: greatest relative difference of two numbers of which one is a decimal.
        ratios: ``value``: 3:4 is 6:8; ``as_written``.
        bases: ``as_written``: 1011_2 is neither 1011 nor 11; ``value``: it is 11.
        case: whether capital and small letters of words are one.
        symbolic: whether sympy decides what exact arithmetic and sampling leave open.
    """
    given, wanted = read_answer(rollout, sources), rollout.problem.answer
    if given is None:
        return no_answer(rollout, sources)
    policy = _policy(
        percent=percent,
        units=units,
        lists=lists,
        brackets=brackets,
        assignment=assignment,
        hedging=hedging,
        decimal_digits=decimal_digits,
        tolerance=tolerance,
        ratios=ratios,
        bases=bases,
        case=case,
    )
    question = rollout.problem.prompt
    comparison = compare_answers(given, wanted, policy, question=question, symbolic=symbolic)
    if comparison.right is None:
        return Score.unscorable(comparison.why)
    return Score(float(comparison.right), comparison.why, parts=ANSWERED)
