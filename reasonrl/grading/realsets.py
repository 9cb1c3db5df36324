r"""Sets of real numbers: intervals, unions, and what inequalities in one variable say, in one form to compare."""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from flint import arb, ctx, fmpq

from reasonrl.grading.algebra import PRECISION, real_value
from reasonrl.grading.nodes import INFINITY, MINUS_ONE, REALS, Call, Group, Node, Product, Relation, Sets, Sum, Symbol
from reasonrl.grading.nodes import negated as negated_node
from reasonrl.grading.values import NoValueError, Point, ball, evaluate, is_real, symbols


class Interval(NamedTuple):
    """A stretch of the real line; a point is an interval from itself to itself."""

    low: arb
    high: arb
    has_low: bool
    has_high: bool


RealSet: TypeAlias = tuple[Interval, ...]
"""Intervals in order that neither meet nor touch."""

LINE = Interval(arb.neg_inf(), arb.pos_inf(), False, False)
_OPPOSITE = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


def speaks_of_sets(node: Node) -> bool:
    """Whether an answer is a set of real numbers although it is no plain interval or list."""
    if isinstance(node, Relation):
        return any(sign in {"<", ">", "<=", ">=", "!=", "notin"} for sign in node.signs) or node.signs == ("in",)
    if isinstance(node, Group) and node.bracket in {",", "or", "and", "{}"}:
        return any(isinstance(item, Relation | Sets) and speaks_of_sets(item) for item in node.items)
    return isinstance(node, Sets) or node == REALS


def same_sets(given: Node, wanted: Node) -> bool | None:
    """Whether two answers are one set of real numbers, or None where one of them is not read as one."""
    variables = [symbols_of_relations(node) for node in (given, wanted)]
    if len(variables[0] | variables[1]) > 1:
        return None
    with ctx.workprec(PRECISION):
        one, other = real_set(given), real_set(wanted)
        if one is None or other is None:
            return None
        return len(one) == len(other) and all(map(_same_interval, one, other))


def symbols_of_relations(node: Node) -> set[str]:
    """Return the variables that relations speak of."""
    if isinstance(node, Relation):
        return symbols(node)
    if isinstance(node, Group | Sets):
        inner = node.items if isinstance(node, Group) else node.parts
        return {name for item in inner for name in symbols_of_relations(item)}
    return set()


def real_set(node: Node) -> RealSet | None:
    """Return the set of real numbers that an answer is, or None."""
    if node == REALS:
        return (LINE,)
    if isinstance(node, Relation):
        return _of_relation(node)
    if isinstance(node, Sets):
        return _of_sets(node)
    if isinstance(node, Group):
        return _of_group(node)
    return _point(node)


def _of_group(node: Group) -> RealSet | None:
    """Return the set of an interval, a list of numbers, or of conditions."""
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


def _interval(node: Group) -> RealSet | None:
    """Return a bracket of two ends as an interval."""
    if len(node.items) != 2:
        return None
    low, high = (_end(item) for item in node.items)
    if low is None or high is None or low > high:
        return None
    return (Interval(low, high, node.bracket[0] == "[", node.bracket[1] == "]"),)


def _end(node: Node) -> arb | None:
    """Return one end of an interval."""
    if node == INFINITY:
        return arb.pos_inf()
    if node == Product((MINUS_ONE, INFINITY)):
        return arb.neg_inf()
    value = real_value(node) if not isinstance(node, Relation | Group | Sets) else None
    return arb(value) if isinstance(value, fmpq) else value


def _point(node: Node) -> RealSet | None:
    """Return the set of one number."""
    end = None if symbols(node) or node == INFINITY else _end(node)
    return None if end is None else (Interval(end, end, True, True),)


def _of_sets(node: Sets) -> RealSet | None:
    """Return a union, an intersection or a difference."""
    one, other = (real_set(part) for part in node.parts)
    if one is None or other is None:
        return None
    if node.sign == "cup":
        return union((*one, *other))
    return intersection(one, other if node.sign == "cap" else complement(other))


def _of_relation(node: Relation) -> RealSet | None:
    """Return what all signs of a chain say of its only variable."""
    names = symbols(node)
    if len(names) != 1:
        return None
    together: RealSet = (LINE,)
    for left, sign, right in zip(node.sides, node.signs, node.sides[1:], strict=False):
        one = _of_pair(left, sign, right, next(iter(names)))
        if one is None:
            return None
        together = intersection(together, one)
    return together


def _of_pair(left: Node, sign: str, right: Node, name: str) -> RealSet | None:
    """Return what one sign says of a variable."""
    if sign in {"in", "notin"}:
        inside = real_set(right) if left == Symbol(name) else None
        return inside if inside is None or sign == "in" else complement(inside)
    if sign not in _OPPOSITE:
        return None
    if right == Symbol(name) and not symbols(left):
        left, right, sign = right, left, _OPPOSITE[sign]
    if left == Symbol(name) and not symbols(right):
        end = _end(right)
        return None if end is None else ray(sign, end)
    if isinstance(left, Call) and left.name == "abs" and not symbols(right):
        return _within_bars(left.arguments[0], sign, right, name)
    return _linear(left, sign, right, name)


def _within_bars(inner: Node, sign: str, right: Node, name: str) -> RealSet | None:
    """Return what a sign says of an absolute value."""
    one = _of_pair(inner, sign, right, name)
    other = _of_pair(inner, _OPPOSITE[sign], negated_node(right), name)
    if one is None or other is None:
        return None
    return union((*one, *other)) if sign in {">", ">=", "="} else intersection(one, other)


def ray(sign: str, end: arb) -> RealSet:
    """Return the numbers on one side of an end."""
    if sign == "=":
        return (Interval(end, end, True, True),)
    if sign == "!=":
        return complement((Interval(end, end, True, True),))
    has_end = sign.endswith("=")
    if sign.startswith("<"):
        return (Interval(LINE.low, end, False, has_end),)
    return (Interval(end, LINE.high, has_end, False),)


def _linear(left: Node, sign: str, right: Node, name: str) -> RealSet | None:
    """Solve a linear relation."""
    difference = Sum((left, negated_node(right)))
    at = [_at(difference, name, whole) for whole in range(4)]
    known = [value for value in at if value is not None]
    if len(known) < 4:
        return None
    slope = known[1] - known[0]
    is_linear = all((after - before).overlaps(slope) for before, after in pairwise(known))
    if not is_linear or slope.contains(0):
        return None
    return ray(sign if slope > 0 else _OPPOSITE[sign], -known[0] / slope)


def _at(node: Node, name: str, whole: int) -> arb | None:
    """Return the value of an expression at a whole number."""
    point = Point(0)
    point[name] = fmpq(whole)
    try:
        value = evaluate(node, point)
    except NoValueError:
        return None
    return ball(value).real if is_real(value) else None


# -- algebra of sets


def _compare(one: arb, other: arb) -> int:
    """Return -1, 0 or 1 as one end is left of, at, or right of another."""
    return 0 if one.overlaps(other) else -1 if one < other else 1


def _same_interval(one: Interval, other: Interval) -> bool:
    """Whether two intervals are one."""
    same_ends = one.low.overlaps(other.low) and one.high.overlaps(other.high)
    return same_ends and one.has_low == other.has_low and one.has_high == other.has_high


def union(intervals: Iterable[Interval]) -> RealSet:
    """Return intervals in order, joined where they meet or touch."""
    joined: list[Interval] = []
    for interval in sorted((one for one in intervals if not _is_empty(one)), key=_Order):
        if joined and _touches(joined[-1], interval):
            joined[-1] = _joined(joined[-1], interval)
        else:
            joined.append(interval)
    return tuple(joined)


class _Order:
    """Sorts intervals by their lower ends, the closed one of two first."""

    def __init__(self, interval: Interval) -> None:
        """Keep the interval."""
        self.interval = interval

    def __lt__(self, other: "_Order") -> bool:
        """Whether this interval begins before another."""
        order = _compare(self.interval.low, other.interval.low)
        return order < 0 or (order == 0 and self.interval.has_low and not other.interval.has_low)


def _is_empty(interval: Interval) -> bool:
    """Whether an interval holds nothing."""
    order = _compare(interval.low, interval.high)
    return order > 0 or (order == 0 and not (interval.has_low and interval.has_high))


def _touches(one: Interval, after: Interval) -> bool:
    """Whether nothing lies between an interval and one that begins later."""
    order = _compare(after.low, one.high)
    return order < 0 or (order == 0 and (after.has_low or one.has_high))


def _joined(one: Interval, after: Interval) -> Interval:
    """Return the interval over two that touch."""
    order = _compare(one.high, after.high)
    has_high = one.has_high or after.has_high if order == 0 else (one if order > 0 else after).has_high
    return Interval(one.low, one.high if order > 0 else after.high, one.has_low, has_high)


def complement(one: RealSet) -> RealSet:
    """Return the rest of the real line."""
    rest: list[Interval] = []
    low, has_low = LINE.low, False
    for interval in one:
        rest.append(Interval(low, interval.low, has_low, not interval.has_low))
        low, has_low = interval.high, not interval.has_high
    rest.append(Interval(low, LINE.high, has_low, False))
    return tuple(interval for interval in rest if not _is_empty(interval) and not _is_outside(interval))


def _is_outside(interval: Interval) -> bool:
    """Whether an interval is only an end of the line."""
    return (interval.low > LINE.low and not interval.low < LINE.high) or not interval.high > LINE.low


def intersection(one: RealSet, other: RealSet) -> RealSet:
    """Return what two sets share."""
    return union(_meet(a, b) for a in one for b in other)


def _meet(one: Interval, other: Interval) -> Interval:
    """Return what two intervals share, perhaps nothing."""
    low, high = _compare(one.low, other.low), _compare(one.high, other.high)
    has_low = one.has_low and other.has_low if low == 0 else (one if low > 0 else other).has_low
    has_high = one.has_high and other.has_high if high == 0 else (one if high < 0 else other).has_high
    return Interval(one.low if low >= 0 else other.low, one.high if high <= 0 else other.high, has_low, has_high)
