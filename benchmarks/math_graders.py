"""The two graders that are compared, as functions for worker processes."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import process_time

from math_pairs import Pair

from reasonrl.scoring.runner import Functions


@dataclass(frozen=True, slots=True)
class Graded:
    """Whether a pair is equal, and what the comparison cost."""

    right: bool
    cpu_s: float
    """Processor time of the process that graded."""


def with_reasonrl(pair: Pair) -> bool:
    """Grade as the reward ``math`` does."""
    from reasonrl_grading import compare_answers

    return compare_answers(pair.given, pair.wanted, symbolic=True).right is True


def with_math_verify(pair: Pair) -> bool:
    """Parse both answers and compare them; its timeouts are off, since the worker is killed at its deadline."""
    from math_verify import parse, verify

    wanted = parse(rf"\boxed{{{pair.wanted}}}", parsing_timeout=None)
    given = parse(rf"\boxed{{{pair.given}}}", parsing_timeout=None)
    return bool(verify(wanted, given, timeout_seconds=None))


GRADERS = {"reasonrl": with_reasonrl, "math-verify": with_math_verify}


def load(name: str) -> Functions:
    """Return a scorer that has imported what it needs and has run before."""
    warm_up = [Pair(kind="", wanted=r"\int_0^1 x\,dx + \frac{x}{2}", given=r"\frac{x+1}{2}", right=True)]
    return {name: measured(GRADERS[name], warm_up)}


def measured(scorer: Callable[[Pair], bool], warm_up: Sequence[Pair]) -> Callable[[Sequence[Pair]], list[Graded]]:
    """Return a function that grades pairs one by one and says what each took."""

    def grade_all(pairs: Sequence[Pair]) -> list[Graded]:
        return [timed(scorer, pair) for pair in pairs]

    grade_all(warm_up)
    return grade_all


def timed(scorer: Callable[[Pair], bool], pair: Pair) -> Graded:
    """Grade a pair and count the processor time of this process and of those that it started and waited for."""
    began, children = process_time(), children_time()
    right = scorer(pair)
    return Graded(right, process_time() - began + children_time() - children)


def children_time() -> float:
    """Return the processor time of children that have ended."""
    times = os.times()
    return times.children_user + times.children_system
