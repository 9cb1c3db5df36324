"""Compare two expressions by their values.

Constants are compared once. Expressions in variables are compared at fixed pseudo-random points: if both are real and
provably differ at one point, they differ; agreement at three points to a hundred bits counts as equal. Points at which
a side is not real, such as a logarithm of a negative number, do not count against equality unless the imaginary unit
occurs.
"""

from collections.abc import Iterator
from typing import Final

from flint import arb, ctx, fmpq

from reasonrl_grading.nodes import Node, Number
from reasonrl_grading.numbers import same_numbers, stands_for, within
from reasonrl_grading.policy import Policy
from reasonrl_grading.values import CONSTANT_NAMES, NoValueError, Point, Value, ball, evaluate, is_real, names, symbols

PRECISION: Final = 320
"""Bits of a ball."""

HIGH_PRECISION: Final = 4096
"""Bits of a ball where a term was smaller than the error bound of another."""

POINT_ORDER: Final = (0, 5, 3, 1, 2, 4, 6, 7, 8)
"""The points of `sample_value` in the order in which they are tried: positive, negative, mixed signs, the rest."""

NUM_AGREEING_POINTS: Final = 3
"""Points that must agree."""


def same_expressions(given: Node, wanted: Node, policy: Policy) -> bool:
    """Whether two expressions have the same value wherever both are defined."""
    if isinstance(given, Number) and isinstance(wanted, Number):
        return same_numbers(given, wanted, policy)
    if given == wanted:
        return True
    with ctx.workprec(PRECISION):
        if _as_decimal(given, wanted, policy) or _as_decimal(wanted, given, policy):
            return True
        found = names(given) | names(wanted)
        return any(
            _agree(given, wanted, found, is_natural) for is_natural in ((True, False) if "log" in found else (True,))
        )


def _as_decimal(decimal: Node, other: Node, policy: Policy) -> bool:
    """Whether a decimal stands for a real constant that is not a plain number."""
    if not (isinstance(decimal, Number) and decimal.digits) or symbols(other):
        return False
    value = real_value(other)
    if value is None:
        return False
    exact = value if isinstance(value, fmpq) else value.mid().fmpq()
    if policy.tolerance and within(decimal.value, exact, policy.tolerance):
        return True
    return decimal.value == exact or stands_for(decimal, exact, policy)


def real_value(node: Node) -> fmpq | arb | None:
    """Return the value of a real constant, or None; variables get their values of the first point."""
    try:
        value = evaluate(node, Point(0))
    except NoValueError:
        return None
    if isinstance(value, fmpq):
        return value
    is_small = abs(value.real) < arb(2) ** HIGH_PRECISION and (
        value.real == 0 or abs(value.real) > arb(2) ** -HIGH_PRECISION
    )
    return value.real if is_real(value) and is_small else None


def _agree(given: Node, wanted: Node, found: set[str], is_log_natural: bool) -> bool:
    """Whether two expressions agree at enough points; a logarithm without base is natural or to base ten."""
    is_constant = found <= CONSTANT_NAMES
    is_complex = is_constant or "i" in found
    num_agreed = 0
    for left, right in _values(given, wanted, POINT_ORDER[:1] if is_constant else POINT_ORDER, is_log_natural):
        if _same_values(left, right):
            num_agreed += 1
        elif is_complex or (is_real(left) and is_real(right)):
            return False
        if num_agreed >= NUM_AGREEING_POINTS:
            return True
    return num_agreed > 0 and is_constant


def _values(given: Node, wanted: Node, order: tuple[int, ...], is_log_natural: bool) -> Iterator[tuple[Value, Value]]:
    """Yield both values at each point where both exist, precise enough to compare."""
    for index in order:
        pair = _pair(given, wanted, index, is_log_natural)
        if pair is None:
            with ctx.workprec(HIGH_PRECISION):
                pair = _pair(given, wanted, index, is_log_natural)
        if pair:
            yield pair


def _pair(given: Node, wanted: Node, index: int, is_log_natural: bool) -> tuple[Value, Value] | tuple[()] | None:
    """Return both values at a point, ``()`` where one does not exist, None where the precision was too low."""
    point = Point(index, is_log_natural)
    try:
        left = evaluate(given, point)
        point.steps = 0
        right = evaluate(wanted, point)
    except NoValueError:
        return ()
    if isinstance(left, fmpq) and isinstance(right, fmpq):
        return left, right
    is_settled = not ball(left).overlaps(ball(right)) or (not point.num_absorbed and _same_values(left, right))
    return (left, right) if is_settled else None


def _same_values(left: Value, right: Value) -> bool:
    """Whether two values are equal exactly, or to a hundred bits; two values near 0 to 150 bits after the point."""
    if isinstance(left, fmpq) and isinstance(right, fmpq):
        return left == right
    one, other = ball(left), ball(right)
    if not one.overlaps(other):
        return False
    difference, size = abs(one - other).upper(), max(abs(one).lower(), abs(other).lower())
    return bool(difference <= size * arb(2) ** -100 or difference <= arb(2) ** -150)


def constant_ratio(one: Node, other: Node) -> fmpq | arb | None:
    """Return the ratio of two expressions where it is a real constant other than 0, else None."""
    ratio: Value | None = None
    num_agreed = 0
    with ctx.workprec(PRECISION):
        for left, right in _quotients(one, other):
            quotient = _divided(left, right)
            if quotient is None or not is_real(quotient):
                return None
            if ratio is not None and not _same_values(ratio, quotient):
                return None
            ratio, num_agreed = quotient, num_agreed + 1
            if num_agreed >= NUM_AGREEING_POINTS:
                return ratio if isinstance(ratio, fmpq) else ratio.real
    return None


def _quotients(one: Node, other: Node) -> Iterator[tuple[Value, Value]]:
    for index in POINT_ORDER:
        point = Point(index)
        try:
            left, right = evaluate(one, point), evaluate(other, point)
        except NoValueError:
            continue
        if is_real(left) and is_real(right):
            yield left, right


def _divided(left: Value, right: Value) -> Value | None:
    """Return the quotient of two values, or None where one of them may be 0."""
    if isinstance(left, fmpq) and isinstance(right, fmpq):
        return left / right if left and right else None
    one, other = ball(left), ball(right)
    return None if one.contains(0) or other.contains(0) else one / other
