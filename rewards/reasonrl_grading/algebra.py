"""Compare two expressions by their values.

Constants are compared once. Expressions in variables are compared at fixed pseudo-random points, and where both sides
are quotients of polynomials the agreement is proved by their canonical form. Provably different values at one point
decide against equality. Expressions that are analytic are equal where three points agree to a hundred bits; those with
absolute values, roots, floors, powers of negative numbers and the like where all points agree, which are positive and
negative, fractions and integers of either parity, small and large. Points at which a side, or a root or logarithm in
it, is not real do not count against equality unless the imaginary unit occurs.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from flint import acb, arb, ctx, fmpq

from reasonrl_grading.balls import AGREEING_BITS, NoValueError, OutsideError, Value, ball, differ, is_real, same_values
from reasonrl_grading.decimals import same_numbers, stands_for, within
from reasonrl_grading.logic import Truth, some
from reasonrl_grading.nodes import (
    EULER,
    INFINITY,
    MINUS_ONE,
    REALS,
    Call,
    Node,
    Number,
    Power,
    Product,
    Sum,
    Symbol,
)
from reasonrl_grading.points import NUM_POINTS, Point
from reasonrl_grading.policy import Policy
from reasonrl_grading.polynomials import same_fractions
from reasonrl_grading.values import CONSTANT_NAMES, evaluate, names, parts, symbols

PRECISION: Final = 320
"""Bits of a ball."""

HIGH_PRECISION: Final = 4096
"""Bits of a ball where a term was smaller than the error bound of another."""

POINT_ORDER: Final = (0, 5, 3, 1, 2, 4, *range(6, NUM_POINTS))
"""The points of `points.sample_value` in the order in which they are tried."""

MAX_TOTAL_STEPS: Final = 20_000
"""Nodes visited at all points together; expressions that take more are undecided."""

MAX_PRECISE_STEPS: Final = 200
"""Nodes of both sides that are evaluated again with more precision."""

NUM_AGREEING_POINTS: Final = 3
"""Points that must agree."""

MAX_SHORT_NAME: Final = 3
"""Letters of a name that is no limit, sum or integral for certain."""

_OPAQUE = re.compile(r"(?:i{0,2}int|oint|lim|sum|prod|partial|nabla)(?![a-z]?$)")
_ANALYTIC_FUNCTIONS = "sin cos tan cot sec csc sinh cosh tanh ln log degrees percent cis"
_ANALYTIC = frozenset(_ANALYTIC_FUNCTIONS.split())

_UNEQUALED = (INFINITY, Product((MINUS_ONE, INFINITY)), REALS)
"""What equals nothing that is written in another way."""

Outcome: TypeAlias = Literal["equal", "different", "undefined", "given undefined", "one real", "not real", "unsettled"]
"""What a point says about two expressions."""


def same_expressions(given: Node, wanted: Node, policy: Policy) -> Truth:
    """Whether two expressions have the same value wherever both are defined; None where neither could be shown."""
    if isinstance(given, Number) and isinstance(wanted, Number):
        return same_numbers(given, wanted, policy)
    if given == wanted:
        return True
    if given in _UNEQUALED or wanted in _UNEQUALED:
        return False
    ours, theirs = names(given), names(wanted)
    if _has_opaque(ours) or _has_opaque(theirs):
        return None if _has_opaque(theirs) else False
    with ctx.workprec(PRECISION):
        if as_decimal(given, wanted, policy) or as_decimal(wanted, given, policy):
            return True
        found = ours | theirs
        bases = (True, False) if "log" in found else (True,)
        return some(_agree(given, wanted, found, is_log_natural) for is_log_natural in bases)


def is_opaque(node: Node) -> bool:
    """Whether an expression has a limit, a sum or an integral that is only known by its text."""
    return _has_opaque(names(node))


def _has_opaque(found: set[str]) -> bool:
    return any(len(name) > MAX_SHORT_NAME and _OPAQUE.match(name) for name in found)


def as_decimal(decimal: Node, other: Node, policy: Policy) -> bool:
    """Whether a decimal stands for a real constant that is not a plain number."""
    if not (isinstance(decimal, Number) and decimal.digits) or symbols(other):
        return False
    value = real_value(other)
    if value is None:
        return False
    exact = value if isinstance(value, fmpq) else _exactly(value)
    if policy.tolerance and within(decimal.value, exact, policy.tolerance):
        return True
    return decimal.value == exact or stands_for(decimal, exact, policy)


def _exactly(value: arb) -> fmpq:
    """Return the only integer in a ball, or its middle."""
    whole = value.unique_fmpz()
    return value.mid().fmpq() if whole is None else fmpq(whole)


def real_value(node: Node, index: int = 0) -> fmpq | arb | None:
    """Return the value of a real constant to a hundred bits, or None; variables get their values of a point."""
    try:
        value = evaluate(node, Point(index))
    except NoValueError:
        return None
    if isinstance(value, fmpq):
        return value
    real = value.real
    is_small = abs(real) < arb(2) ** HIGH_PRECISION and (real == 0 or abs(real) > arb(2) ** -HIGH_PRECISION)
    return real if is_real(value) and is_small and real.rel_accuracy_bits() > AGREEING_BITS else None


def _agree(given: Node, wanted: Node, found: set[str], is_log_natural: bool) -> Truth:
    """Whether two expressions agree at enough points; a logarithm without base is natural or to base ten."""
    if found <= CONSTANT_NAMES:
        outcome = outcome_at(given, wanted, Point(0, is_log_natural), is_complex=True)
        if outcome == "given undefined":
            return _unless_computed(given)
        return outcome == "equal" if outcome in {"equal", "different"} else None
    outcomes: list[Outcome] = []
    num_steps = 0
    for index in POINT_ORDER:
        point = Point(index, is_log_natural, "i" in found)
        outcome = outcome_at(given, wanted, point, is_complex="i" in found)
        num_steps += point.total_steps
        if outcome == "different":
            return False
        if num_steps > MAX_TOTAL_STEPS:
            return None
        outcomes.append(outcome)
        if outcomes == ["equal"] and (are_same := same_fractions(given, wanted)) is not None:
            return are_same
        if outcomes.count("equal") == NUM_AGREEING_POINTS and is_analytic(given) and is_analytic(wanted):
            break
    return _verdict(given, wanted, outcomes)


def _verdict(given: Node, wanted: Node, outcomes: list[Outcome]) -> Truth:
    """Decide by points of which none shows a difference."""
    if "one real" in outcomes and _has_absolute(given) != _has_absolute(wanted):
        return False  # ln x is not ln |x|, which is defined for negative numbers too
    if outcomes.count("equal") >= NUM_AGREEING_POINTS and "unsettled" not in outcomes:
        return True
    is_nowhere_defined = "equal" not in outcomes and outcomes.count("given undefined") >= NUM_AGREEING_POINTS
    return _unless_computed(given) if is_nowhere_defined else None


def _unless_computed(node: Node) -> Truth:
    """Whether an answer without a value may be the wanted one: undecided for a sum or an integral, else not."""
    is_computed = isinstance(node, Call) and node.name in {"sum", "prod", "integral"}
    return None if is_computed or any(_unless_computed(part) is None for part in parts(node)) else False


def has_value(node: Node) -> bool:
    """Whether an expression has a value at some point."""
    return any(isinstance(_value(node, Point(index)), fmpq | acb) for index in POINT_ORDER)


def _has_absolute(node: Node) -> bool:
    return (isinstance(node, Call) and node.name == "abs") or any(map(_has_absolute, parts(node)))


def outcome_at(given: Node, wanted: Node, point: Point, *, is_complex: bool = False) -> Outcome:
    """Compare at a point, with more precision where the first is not enough.

    Args:
        given: an expression.
        wanted: another one.
        point: the values of the variables.
        is_complex: whether values that are not real count.
    """
    outcome = _outcome(given, wanted, point, is_complex)
    if outcome != "unsettled" or point.total_steps > MAX_PRECISE_STEPS:
        return outcome
    with ctx.workprec(HIGH_PRECISION):
        point.num_absorbed = 0
        return _outcome(given, wanted, point, is_complex)


def _outcome(given: Node, wanted: Node, point: Point, is_complex: bool) -> Outcome:
    left, is_left_real = _value(given, point), not point.leaves_reals
    right, is_right_real = _value(wanted, point), not point.leaves_reals
    if left is None or right is None:
        return "given undefined" if left is None and right is not None else "undefined"
    if isinstance(left, OutsideError) or isinstance(right, OutsideError):
        return "undefined" if isinstance(left, OutsideError) and isinstance(right, OutsideError) else "different"
    if differ(left, right):
        are_real = is_left_real and is_real(left), is_right_real and is_real(right)
        return "different" if is_complex or all(are_real) else "one real" if any(are_real) else "not real"
    is_settled = same_values(left, right) and not point.num_absorbed
    return "equal" if is_settled or (isinstance(left, fmpq) and isinstance(right, fmpq)) else "unsettled"


def _value(node: Node, point: Point) -> Value | OutsideError | None:
    """Return a value, what says that the point is in no case of a function, or None."""
    point.steps, point.leaves_reals = 0, False
    try:
        return evaluate(node, point)
    except OutsideError as error:
        return error
    except NoValueError:
        return None
    finally:
        point.total_steps += point.steps


def is_analytic(node: Node, integers: frozenset[str] = frozenset()) -> bool:
    """Whether agreement at a few fractions shows the equality of expressions such as this one everywhere.

    Args:
        node: an expression.
        integers: variables that are integers: indices of sums around it.
    """
    match node:
        case Number() | Symbol():
            return True
        case Sum(inner) | Product(inner):
            return all(is_analytic(part, integers) for part in inner)
        case Power(base, exponent) if _is_integer(exponent, integers):
            return is_analytic(base, integers)
        case Power(base, exponent):
            return _is_positive_constant(base) and is_analytic(exponent, integers)
        case Call("sum" | "prod", (body, Symbol(index), low, high)) if not symbols(low) | symbols(high):
            return is_analytic(body, integers | {index})
        case Call(name, arguments):
            is_constant = not symbols(node)
            return is_constant or (name in _ANALYTIC and all(is_analytic(part, integers) for part in arguments))
    return False


def _is_integer(node: Node, integers: frozenset[str]) -> bool:
    match node:
        case Number(value):
            return value.q == 1
        case Symbol(name):
            return name in integers
        case Sum(inner) | Product(inner):
            return all(_is_integer(part, integers) for part in inner)
    return False


def _is_positive_constant(node: Node) -> bool:
    if node == EULER:
        return True
    value = None if symbols(node) else real_value(node)
    return value is not None and bool(value > 0)


def constant_ratio(one: Node, other: Node) -> fmpq | arb | None:
    """Return the ratio of two expressions where it is a real constant other than 0, else None."""
    ratio: Value | None = None
    num_agreed = 0
    needed = NUM_AGREEING_POINTS if is_analytic(one) and is_analytic(other) else NUM_POINTS
    with ctx.workprec(PRECISION):
        for left, right in _quotients(one, other):
            quotient = _divided(left, right)
            if quotient is None or not is_real(quotient):
                return None
            if ratio is not None and not same_values(ratio, quotient):
                return None
            ratio, num_agreed = quotient, num_agreed + 1
            if num_agreed >= needed:
                break
    if ratio is None or num_agreed < NUM_AGREEING_POINTS:
        return None
    return ratio if isinstance(ratio, fmpq) else ratio.real


def _quotients(one: Node, other: Node) -> Iterator[tuple[Value, Value]]:
    num_steps = 0
    for index in POINT_ORDER:
        point = Point(index)
        left, right = _value(one, point), _value(other, point)
        num_steps += point.total_steps
        if num_steps > MAX_TOTAL_STEPS:
            return
        if isinstance(left, fmpq | acb) and isinstance(right, fmpq | acb) and is_real(left) and is_real(right):
            yield left, right


def _divided(left: Value, right: Value) -> Value | None:
    """Return the quotient of two values, or None where one of them may be 0."""
    if isinstance(left, fmpq) and isinstance(right, fmpq):
        return left / right if left and right else None
    one, other = ball(left), ball(right)
    return None if one.contains(0) or other.contains(0) else one / other
