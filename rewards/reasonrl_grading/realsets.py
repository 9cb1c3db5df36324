"""Sets of real numbers: intervals, unions and inequalities in one variable, in one form that can be compared."""

from collections.abc import Iterable
from functools import cmp_to_key
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from flint import arb, ctx, fmpq

from reasonrl_grading.algebra import PRECISION, real_value
from reasonrl_grading.nodes import (
    INFINITY,
    MINUS_ONE,
    REALS,
    REVERSED_SIGNS,
    Call,
    Collection,
    Node,
    Product,
    Relation,
    SetExpression,
    Sum,
    Symbol,
)
from reasonrl_grading.nodes import negated as negated_node
from reasonrl_grading.values import NoValueError, Point, ball, evaluate, is_real, symbols


class Interval(NamedTuple):
    """An interval of real numbers; a single number is one from itself to itself."""

    low: arb
    high: arb
    includes_low: bool
    includes_high: bool


RealSet: TypeAlias = tuple[Interval, ...]
"""Disjoint intervals in order, with a gap between each two."""

LINE = Interval(arb.neg_inf(), arb.pos_inf(), False, False)


def describes_set(node: Node) -> bool:
    """Whether an answer is a set of real numbers, written in another way than as one interval or list."""
    if isinstance(node, Relation):
        return any(sign in {"<", ">", "<=", ">=", "!=", "notin"} for sign in node.signs) or node.signs == ("in",)
    if isinstance(node, Collection) and node.bracket in {",", "or", "and", "{}"}:
        return any(isinstance(item, Relation | SetExpression) and describes_set(item) for item in node.items)
    return isinstance(node, SetExpression) or node == REALS


def same_sets(given: Node, wanted: Node) -> bool | None:
    """Whether two answers are the same set of real numbers, or None where one of them is not a set of real numbers."""
    variables = [relation_variables(node) for node in (given, wanted)]
    if len(variables[0] | variables[1]) > 1:
        return None
    with ctx.workprec(PRECISION):
        one, other = real_set(given), real_set(wanted)
        if one is None or other is None:
            return None
        return len(one) == len(other) and all(map(_same_interval, one, other))


def relation_variables(node: Node) -> set[str]:
    """Return the variables of all relations in an answer."""
    if isinstance(node, Relation):
        return symbols(node)
    if isinstance(node, Collection | SetExpression):
        inner = node.items if isinstance(node, Collection) else node.parts
        return {name for item in inner for name in relation_variables(item)}
    return set()


def real_set(node: Node) -> RealSet | None:
    """Return the set of real numbers that an answer is, or None."""
    if node == REALS:
        return (LINE,)
    if isinstance(node, Relation):
        return _of_relation(node)
    if isinstance(node, SetExpression):
        return _of_sets(node)
    if isinstance(node, Collection):
        return _of_collection(node)
    return _point(node)


def _of_collection(node: Collection) -> RealSet | None:
    if node.bracket in {"()", "[]", "(]", "[)"}:
        return _interval(node)
    sets = [real_set(item) for item in node.items]
    if node.bracket == "<>" or any(one is None for one in sets):
        return None
    known = [one for one in sets if one is not None]
    if node.bracket == "or" or not all(isinstance(item, Relation) for item in node.items):
        return union(interval for one in known for interval in one)
    together = known[0] if known else ()
    for one in known[1:]:
        together = intersection(together, one)
    return together or (union(interval for one in known for interval in one) if node.bracket == "," else ())


def _interval(node: Collection) -> RealSet | None:
    if len(node.items) != 2:
        return None
    low, high = (_end(item) for item in node.items)
    if low is None or high is None or low > high:
        return None
    return (Interval(low, high, node.bracket[0] == "[", node.bracket[1] == "]"),)


def _end(node: Node) -> arb | None:
    if node == INFINITY:
        return arb.pos_inf()
    if node == Product((MINUS_ONE, INFINITY)):
        return arb.neg_inf()
    value = real_value(node) if not isinstance(node, Relation | Collection | SetExpression) else None
    return arb(value) if isinstance(value, fmpq) else value


def _point(node: Node) -> RealSet | None:
    end = None if symbols(node) or node == INFINITY else _end(node)
    return None if end is None else (Interval(end, end, True, True),)


def _of_sets(node: SetExpression) -> RealSet | None:
    one, other = (real_set(part) for part in node.parts)
    if one is None or other is None:
        return None
    if node.sign == "cup":
        return union((*one, *other))
    return intersection(one, other if node.sign == "cap" else complement(other))


def _of_relation(node: Relation) -> RealSet | None:
    """Return the numbers for which all signs of a chain hold; None unless it has exactly one variable."""
    names = symbols(node)
    if len(names) != 1:
        return None
    solutions: RealSet = (LINE,)
    for left, sign, right in zip(node.sides, node.signs, node.sides[1:], strict=False):
        one = _solutions(left, sign, right, next(iter(names)))
        if one is None:
            return None
        solutions = intersection(solutions, one)
    return solutions


def _solutions(left: Node, sign: str, right: Node, name: str) -> RealSet | None:
    """Return the values of a variable for which a relation holds, or None where it cannot be solved."""
    if sign in {"in", "notin"}:
        inside = real_set(right) if left == Symbol(name) else None
        return inside if inside is None or sign == "in" else complement(inside)
    if sign not in REVERSED_SIGNS:
        return None
    if right == Symbol(name) and not symbols(left):
        left, right, sign = right, left, REVERSED_SIGNS[sign]
    if left == Symbol(name) and not symbols(right):
        end = _end(right)
        return None if end is None else ray(sign, end)
    if isinstance(left, Call) and left.name == "abs" and not symbols(right):
        return _absolute_solutions(left.arguments[0], sign, right, name)
    return _linear_solutions(left, sign, right, name)


def _absolute_solutions(inner: Node, sign: str, right: Node, name: str) -> RealSet | None:
    one = _solutions(inner, sign, right, name)
    other = _solutions(inner, REVERSED_SIGNS[sign], negated_node(right), name)
    if one is None or other is None:
        return None
    return union((*one, *other)) if sign in {">", ">=", "="} else intersection(one, other)


def ray(sign: str, end: arb) -> RealSet:
    """Return the numbers that are in a relation to an end: less, equal, greater, ..."""
    if sign == "=":
        return (Interval(end, end, True, True),)
    if sign == "!=":
        return complement((Interval(end, end, True, True),))
    includes_end = sign.endswith("=")
    if sign.startswith("<"):
        return (Interval(LINE.low, end, False, includes_end),)
    return (Interval(end, LINE.high, includes_end, False),)


def _linear_solutions(left: Node, sign: str, right: Node, name: str) -> RealSet | None:
    # Equal differences at four points make it linear: a form that is checked by values needs no rewriting.
    difference = Sum((left, negated_node(right)))
    at = [_value_at(difference, name, whole) for whole in range(4)]
    known = [value for value in at if value is not None]
    if len(known) < 4:
        return None
    slope = known[1] - known[0]
    is_linear = all((after - before).overlaps(slope) for before, after in pairwise(known))
    if not is_linear or slope.contains(0):
        return None
    return ray(sign if slope > 0 else REVERSED_SIGNS[sign], -known[0] / slope)


def _value_at(node: Node, name: str, at: int) -> arb | None:
    point = Point(0)
    point[name] = fmpq(at)
    try:
        value = evaluate(node, point)
    except NoValueError:
        return None
    return ball(value).real if is_real(value) else None


# -- algebra of sets


def _compare(one: arb, other: arb) -> int:
    """Return -1, 0 or 1 as the first is less than, possibly equal to, or greater than the second."""
    return 0 if one.overlaps(other) else -1 if one < other else 1


def _same_interval(one: Interval, other: Interval) -> bool:
    same_ends = one.low.overlaps(other.low) and one.high.overlaps(other.high)
    return same_ends and one.includes_low == other.includes_low and one.includes_high == other.includes_high


def union(intervals: Iterable[Interval]) -> RealSet:
    """Return intervals in order, joined where there is no gap between them."""
    joined: list[Interval] = []
    for interval in sorted((one for one in intervals if not _is_empty(one)), key=cmp_to_key(_compare_starts)):
        if joined and _touches(joined[-1], interval):
            joined[-1] = _joined(joined[-1], interval)
        else:
            joined.append(interval)
    return tuple(joined)


def _compare_starts(one: Interval, other: Interval) -> int:
    """Order intervals by their lower ends; of two with the same end, the closed one comes first."""
    return _compare(one.low, other.low) or other.includes_low - one.includes_low


def _is_empty(interval: Interval) -> bool:
    order = _compare(interval.low, interval.high)
    return order > 0 or (order == 0 and not (interval.includes_low and interval.includes_high))


def _touches(one: Interval, after: Interval) -> bool:
    order = _compare(after.low, one.high)
    return order < 0 or (order == 0 and (after.includes_low or one.includes_high))


def _joined(one: Interval, after: Interval) -> Interval:
    order = _compare(one.high, after.high)
    includes_high = (
        one.includes_high or after.includes_high if order == 0 else (one if order > 0 else after).includes_high
    )
    return Interval(one.low, one.high if order > 0 else after.high, one.includes_low, includes_high)


def complement(one: RealSet) -> RealSet:
    """Return the real numbers that are not in a set."""
    rest: list[Interval] = []
    low, includes_low = LINE.low, False
    for interval in one:
        rest.append(Interval(low, interval.low, includes_low, not interval.includes_low))
        low, includes_low = interval.high, not interval.includes_high
    rest.append(Interval(low, LINE.high, includes_low, False))
    return tuple(interval for interval in rest if not _is_empty(interval) and not _is_outside(interval))


def _is_outside(interval: Interval) -> bool:
    """Whether an interval is only an infinite end of the line."""
    return (interval.low > LINE.low and not interval.low < LINE.high) or not interval.high > LINE.low


def intersection(one: RealSet, other: RealSet) -> RealSet:
    """Return the numbers that are in both sets."""
    return union(_overlap(a, b) for a in one for b in other)


def _overlap(one: Interval, other: Interval) -> Interval:
    low, high = _compare(one.low, other.low), _compare(one.high, other.high)
    includes_low = one.includes_low and other.includes_low if low == 0 else (one if low > 0 else other).includes_low
    includes_high = (
        one.includes_high and other.includes_high if high == 0 else (one if high < 0 else other).includes_high
    )
    return Interval(
        one.low if low >= 0 else other.low, one.high if high <= 0 else other.high, includes_low, includes_high
    )
