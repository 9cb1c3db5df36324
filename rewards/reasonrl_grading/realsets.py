"""Sets of real numbers: intervals, unions and inequalities in one variable, in one form that can be compared.

Ends may have parameters: then the sets are compared for several values of these.
"""

from collections.abc import Iterable
from functools import cmp_to_key
from itertools import combinations, pairwise
from typing import Final, NamedTuple, TypeAlias

from flint import arb, ctx, fmpq

from reasonrl_grading.algebra import PRECISION, real_value
from reasonrl_grading.balls import NoValueError, ball, is_real
from reasonrl_grading.logic import Truth
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
from reasonrl_grading.points import Point
from reasonrl_grading.values import evaluate, symbols

PARAMETER_POINTS: Final = (0, 5, 3, 4, 1, 2, *range(6, 12))
"""Points of the parameters at which two sets are compared."""

NUM_AGREEING_POINTS: Final = 2
"""Values of the parameters for which sets must agree, among all for which both are defined."""


class Interval(NamedTuple):
    """An interval of real numbers; a single number is one from itself to itself."""

    low: arb
    high: arb
    includes_low: bool
    includes_high: bool


LINEAR_AT: Final = (fmpq(0), fmpq(1), fmpq(2), fmpq(-5), fmpq(-1000), fmpq(1, 3), fmpq(1001, 7))
"""Where a side must have the values of a linear function to be taken for one."""

RealSet: TypeAlias = tuple[Interval, ...]
"""Disjoint intervals in order, with a gap between each two."""

LINE = Interval(arb.neg_inf(), arb.pos_inf(), False, False)


def describes_set(node: Node) -> bool:
    """Whether an answer is a set of real numbers, written in another way than as one interval or list."""
    if isinstance(node, Relation):
        return any(sign in {"<", ">", "<=", ">=", "!=", "notin"} for sign in node.signs) or node.signs == ("in",)
    if isinstance(node, Collection) and node.bracket in {",", "or", "and", "system", "{}"}:
        return any(isinstance(item, Relation | SetExpression) and describes_set(item) for item in node.items)
    return isinstance(node, SetExpression) or node == REALS


class _Frame(NamedTuple):
    """What relations are solved for, and the point at which the parameters have their values."""

    variable: str
    parameters: int


def same_sets(given: Node, wanted: Node) -> Truth:
    """Whether two answers are the same set of real numbers, or None where one of them is not a set of real numbers."""
    variable = _solved_variable(given, wanted)
    if variable is None:
        return None
    has_parameters = bool((symbols(given) | symbols(wanted)) - {variable})
    num_agreed = 0
    with ctx.workprec(PRECISION):
        for index in PARAMETER_POINTS if has_parameters else PARAMETER_POINTS[:1]:
            one, other = (_real_set(node, _Frame(variable, index)) for node in (given, wanted))
            if one is None or other is None:
                continue
            if len(one) != len(other) or not all(map(_same_interval, one, other)):
                return False
            num_agreed += 1
    return True if num_agreed >= (NUM_AGREEING_POINTS if has_parameters else 1) else None


def _solved_variable(given: Node, wanted: Node) -> str | None:
    """Return the variable for which relations are solved, ``""`` where there are none, None where it is not clear."""
    ours, theirs = relation_variables(given), relation_variables(wanted)
    if len(ours | theirs) > 1 and not (ours and theirs):
        ours, theirs = ours - symbols(wanted), theirs - symbols(given)
    return None if len(ours | theirs) > 1 else "".join(ours | theirs)


def relation_variables(node: Node) -> set[str]:
    """Return the variables of all relations in an answer."""
    if isinstance(node, Relation):
        return symbols(node)
    if isinstance(node, Collection | SetExpression):
        inner = node.items if isinstance(node, Collection) else node.parts
        return {name for item in inner for name in relation_variables(item)}
    return set()


def real_set(node: Node, variable: str) -> RealSet | None:
    """Return the set of real numbers that an answer is, with its relations solved for a variable, or None."""
    return _real_set(node, _Frame(variable, 0))


def _real_set(node: Node, frame: _Frame) -> RealSet | None:
    if node == REALS:
        return (LINE,)
    if isinstance(node, Relation):
        return _of_relation(node, frame)
    if isinstance(node, SetExpression):
        return _of_sets(node, frame)
    if isinstance(node, Collection):
        return _of_collection(node, frame)
    return _point(node, frame)


def _of_collection(node: Collection, frame: _Frame) -> RealSet | None:
    if node.bracket in {"()", "[]", "(]", "[)"}:
        return _interval(node, frame)
    sets = [_real_set(item, frame) for item in node.items]
    if node.bracket in {"<>", "mod"} or any(one is None for one in sets):
        return None
    known = [one for one in sets if one is not None]
    if node.bracket == "{}":
        return union(interval for one in known for interval in one)
    if all(isinstance(item, Relation) for item in node.items):
        return _of_relations(node, known)
    return _of_list(node, known)


def _of_relations(node: Collection, sets: list[RealSet]) -> RealSet:
    """Return what relations describe together: all numbers of any after ``or``, else those of all.

    After a comma, relations that exclude each other are taken for alternatives.
    """
    if node.bracket == "or":
        return union(interval for one in sets for interval in one)
    together = sets[0] if sets else ()
    for one in sets[1:]:
        together = intersection(together, one)
    return together or (union(interval for one in sets for interval in one) if node.bracket == "," else ())


def _of_list(node: Collection, sets: list[RealSet]) -> RealSet | None:
    """Return the union of a list of sets.

    None where two of them meet, or one is itself a union: those are alternatives, of which only one can be meant.
    """
    has_union = node.bracket != "or" and any(isinstance(item, SetExpression) for item in node.items)
    meets = any(intersection(one, other) for one, other in combinations(sets, 2))
    return None if has_union or meets else union(interval for one in sets for interval in one)


def _interval(node: Collection, frame: _Frame) -> RealSet | None:
    if len(node.items) != 2:
        return None
    low, high = (_end(item, frame) for item in node.items)
    if low is None or high is None or low > high:
        return None
    return (Interval(low, high, node.bracket[0] == "[", node.bracket[1] == "]"),)


def _end(node: Node, frame: _Frame) -> arb | None:
    if node == INFINITY:
        return arb.pos_inf()
    if node == Product((MINUS_ONE, INFINITY)):
        return arb.neg_inf()
    value = real_value(node, frame.parameters) if not isinstance(node, Relation | Collection | SetExpression) else None
    return arb(value) if isinstance(value, fmpq) else value


def _point(node: Node, frame: _Frame) -> RealSet | None:
    end = None if node == INFINITY else _end(node, frame)
    return None if end is None else (Interval(end, end, True, True),)


def _of_sets(node: SetExpression, frame: _Frame) -> RealSet | None:
    one, other = (_real_set(part, frame) for part in node.parts)
    if one is None or other is None:
        return None
    if node.sign == "cup":
        return union((*one, *other))
    return intersection(one, other if node.sign == "cap" else complement(other))


def _of_relation(node: Relation, frame: _Frame) -> RealSet | None:
    """Return the numbers for which all signs of a chain hold; None unless the variable occurs."""
    if frame.variable not in symbols(node):
        return None
    solutions: RealSet = (LINE,)
    for left, sign, right in zip(node.sides, node.signs, node.sides[1:], strict=False):
        one = _solutions(left, sign, right, frame)
        if one is None:
            return None
        solutions = intersection(solutions, one)
    return solutions


def _solutions(left: Node, sign: str, right: Node, frame: _Frame) -> RealSet | None:
    """Return the values of a variable for which a relation holds, or None where it cannot be solved."""
    variable = Symbol(frame.variable)
    if sign in {"in", "notin"}:
        inside = _real_set(right, frame) if left == variable else None
        return inside if inside is None or sign == "in" else complement(inside)
    if sign not in REVERSED_SIGNS:
        return None
    if right == variable and frame.variable not in symbols(left):
        left, right, sign = right, left, REVERSED_SIGNS[sign]
    if frame.variable not in symbols(right):
        if left == variable:
            end = _end(right, frame)
            return None if end is None else ray(sign, end)
        if isinstance(left, Call) and left.name == "abs":
            return _absolute_solutions(left.arguments[0], sign, right, frame)
    return _linear_solutions(left, sign, right, frame)


def _absolute_solutions(inner: Node, sign: str, right: Node, frame: _Frame) -> RealSet | None:
    one = _solutions(inner, sign, right, frame)
    other = _solutions(inner, REVERSED_SIGNS[sign], negated_node(right), frame)
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


def _linear_solutions(left: Node, sign: str, right: Node, frame: _Frame) -> RealSet | None:
    # Equal differences at points inside and far outside make it linear: values need no rewriting.
    difference = Sum((left, negated_node(right)))
    at = [_value_at(difference, frame, place) for place in LINEAR_AT]
    known = [value for value in at if value is not None]
    if len(known) < len(LINEAR_AT):
        return None
    slope = (known[1] - known[0]) / (LINEAR_AT[1] - LINEAR_AT[0])
    steps = [
        (after - before) / (there - here)
        for (here, before), (there, after) in pairwise(zip(LINEAR_AT, known, strict=True))
    ]
    if slope.contains(0) or not all(step.overlaps(slope) for step in steps):
        return None
    return ray(sign if slope > 0 else REVERSED_SIGNS[sign], -known[0] / slope)


def _value_at(node: Node, frame: _Frame, at: fmpq) -> arb | None:
    point = Point(frame.parameters)
    point[frame.variable] = at
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
