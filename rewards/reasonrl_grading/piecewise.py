"""Compare functions by cases.

The conditions cut the real line into points and intervals. Two functions are equal where they agree at every cut and at
several points between the cuts, beside them and far outside, whatever the order and the writing of their cases.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cmp_to_key
from itertools import pairwise, product
from typing import Final

from flint import acb, arb, ctx, fmpq

from reasonrl_grading.algebra import MAX_TOTAL_STEPS, PRECISION, outcome_at, same_expressions
from reasonrl_grading.balls import Value
from reasonrl_grading.logic import Truth, every
from reasonrl_grading.nodes import Node, Piecewise, Relation, Words
from reasonrl_grading.points import Point
from reasonrl_grading.policy import DEFAULT
from reasonrl_grading.realsets import RealSet, real_set
from reasonrl_grading.values import read_parity, symbols

MAX_CUTS: Final = 40
"""Points at which the cases of two functions may change."""

NUM_AGREEING_POINTS: Final = 3
"""Points that must agree."""

BESIDE: Final = (fmpq(37, 100), fmpq(29, 10), fmpq(413, 10), fmpq(10007, 10))
"""Distances below the first cut and above the last at which functions are compared."""

BETWEEN: Final = (fmpq(3, 17), fmpq(8, 15), fmpq(16, 17))
"""Shares of the way from one cut to the next at which functions are compared."""

INTEGERS: Final = range(-6, 25)
"""Where functions are compared whose conditions are about integers."""

PARAMETER_POINTS: Final = (0, 5, 3)
"""Points of the parameters at which functions are compared."""


def same_piecewise(given: Node, wanted: Node, same: Callable[[Node, Node], Truth]) -> Truth:
    """Whether two functions are the same, of which one at least is given by cases.

    Args:
        given: a function by cases, or an expression.
        wanted: another one.
        same: compares two values, or two conditions that are text.
    """
    variable = _variable(given, wanted)
    if variable is None:
        return _by_branches(given, wanted, same)
    if any(map(_is_about_integers, _conditions(given, wanted))):
        return _agree(given, wanted, variable, [fmpq(whole) for whole in INTEGERS])
    with ctx.workprec(PRECISION):
        cuts = _cuts(given, wanted, variable)
        return _by_branches(given, wanted, same) if cuts is None else _agree(given, wanted, variable, _places(cuts))


def _variable(given: Node, wanted: Node) -> str | None:
    """Return the only variable of the conditions."""
    found = {name for condition in _conditions(given, wanted) for name in _names(condition)}
    return found.pop() if len(found) == 1 and "" not in found else None


def _names(condition: Node) -> set[str]:
    """Return the variables of a condition, and ``""`` where it is text that cannot be read."""
    if isinstance(condition, Words):
        parity = read_parity(condition.text)
        return {"" if parity is None else parity[0]}
    return symbols(condition)


def _is_about_integers(condition: Node) -> bool:
    return isinstance(condition, Words) or (isinstance(condition, Relation) and "equiv" in condition.signs)


def _conditions(*nodes: Node) -> Iterator[Node]:
    for node in nodes:
        for _, condition in node.branches if isinstance(node, Piecewise) else ():
            if condition is not None:
                yield condition


def _cuts(given: Node, wanted: Node, variable: str) -> list[arb] | None:
    """Return the numbers at which a condition begins or ceases to hold, in order; None where one cannot be solved."""
    ends: list[arb] = []
    for condition in _conditions(given, wanted):
        numbers = real_set(condition, variable)
        if numbers is None:
            return None
        ends += _finite_ends(numbers)
    ends.sort(key=cmp_to_key(_compare))
    cuts = ends[:1] + [high for low, high in pairwise(ends) if low < high]  # both functions name most of them
    return cuts if len(cuts) <= MAX_CUTS else None


def _compare(one: arb, other: arb) -> int:
    return -1 if one < other else 1 if one > other else 0


def _finite_ends(numbers: RealSet) -> Iterator[arb]:
    for interval in numbers:
        yield from (end for end in (interval.low, interval.high) if end.is_finite())


def _agree(given: Node, wanted: Node, variable: str, places: Iterable[Value]) -> Truth:
    has_parameters = bool((symbols(given) | symbols(wanted)) - {variable})
    num_agreed = num_steps = 0
    outcome: Truth = True
    for index, place in product(PARAMETER_POINTS if has_parameters else PARAMETER_POINTS[:1], places):
        point = Point(index)
        point[variable] = place
        found = outcome_at(given, wanted, point)
        num_steps += point.total_steps
        if found == "different":
            return False
        if num_steps > MAX_TOTAL_STEPS:
            return None
        num_agreed += found == "equal"
        outcome = outcome if found in {"equal", "undefined"} else None
    return outcome if num_agreed >= NUM_AGREEING_POINTS else None


def _places(cuts: Iterable[arb]) -> Iterator[Value]:
    """Yield the cuts, and points below, between and above them."""
    known = list(cuts) or [arb(0)]
    yield from map(acb, known)
    for distance in BESIDE:
        yield known[0].mid().fmpq() - distance
        yield known[-1].mid().fmpq() + distance
    for low, high in pairwise(known):
        start, length = low.mid().fmpq(), (high - low).mid().fmpq()
        yield from (start + share * length for share in BETWEEN)


def _by_branches(given: Node, wanted: Node, same: Callable[[Node, Node], Truth]) -> Truth:
    """Compare case by case where conditions are no inequalities in one variable."""
    truth = _same_branches(given, wanted, same)
    if truth is not None:
        return truth
    has_text = any(isinstance(condition, Words) for condition in _conditions(given, wanted))
    return False if has_text or same_expressions(given, wanted, DEFAULT) is False else None


def _same_branches(given: Node, wanted: Node, same: Callable[[Node, Node], Truth]) -> Truth:
    """Compare the values under equal conditions; None where the conditions are not the same."""
    if not isinstance(given, Piecewise) or not isinstance(wanted, Piecewise):
        return None
    rest = list(wanted.branches)
    truths: list[Truth] = []
    for value, condition in given.branches:
        found = next((branch for branch in rest if _same_conditions(condition, branch[1], same)), None)
        if found is None:
            return None
        rest.remove(found)
        truths.append(same(value, found[0]))
    return None if rest else every(truths)


def _same_conditions(one: Node | None, other: Node | None, same: Callable[[Node, Node], Truth]) -> bool:
    return one is other if one is None or other is None else same(one, other) is True
