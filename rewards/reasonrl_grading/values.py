"""Evaluate expressions at points: exactly while they are rational, else in ball arithmetic with proven error bounds.

Sums, integrals and the whole evaluation have limits; what exceeds them has no value here.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from flint import acb, acb_mat, arb, ctx, fmpq, fmpq_mat

from reasonrl_grading.balls import (
    FUNCTIONS,
    TAKE_SEVERAL,
    NoValueError,
    OutsideError,
    Value,
    as_integer,
    ball,
    exact,
    exponential,
    finite,
    is_real,
    logarithm,
    multiply,
    power,
    same_values,
)
from reasonrl_grading.logic import Truth, every, some
from reasonrl_grading.matrices import matrix_of
from reasonrl_grading.nodes import (
    EULER,
    INFINITY,
    MINUS_ONE,
    Call,
    Collection,
    Matrix,
    Node,
    Number,
    Piecewise,
    PlusMinus,
    Power,
    Product,
    Quantity,
    Ratio,
    Relation,
    SetExpression,
    Sum,
    Symbol,
    Table,
    Words,
)
from reasonrl_grading.points import Point
from reasonrl_grading.units import DEGREE, PERCENT

MAX_TERMS: Final = 300
"""Terms of a sum or product with bounds."""

MAX_EVALUATIONS: Final = 150
"""Evaluations of an integrand."""

INTEGRAL_PRECISION: Final = 160
"""Bits of a ball in an integral."""

INTEGRAL_BITS: Final = 110
"""Bits that must be right for an integral to have a value here."""

MAX_STEPS: Final = 6000
"""Nodes visited in one evaluation, in every term of a sum."""


def evaluate(node: Node, point: Point) -> Value:
    """Return the value of an expression at a point.

    Raises:
        NoValueError: it has none, or none within the limits.
    """
    point.steps += 1
    if point.steps > MAX_STEPS:
        raise NoValueError
    return _EVALUATE.get(type(node), _no_value)(node, point)


def _no_value(node: Node, point: Point) -> Value:
    raise NoValueError


def _number(node: Number, point: Point) -> Value:
    return node.value


def _symbol(node: Symbol, point: Point) -> Value:
    if node.name in _CONSTANTS:
        return _CONSTANTS[node.name]()
    if node.name in {"infinity", "reals"}:
        raise NoValueError
    return point[node.name]


def _quantity(node: Quantity, point: Point) -> Value:
    """Return an angle in radians, or a percentage as a fraction."""
    value = evaluate(node.value, point)
    if node.unit == DEGREE:
        return multiply(multiply(value, node.unit.factor), acb.pi())
    if node.unit == PERCENT:
        return multiply(value, node.unit.factor)
    raise NoValueError


def _sum(node: Sum, point: Point) -> Value:
    total = evaluate(node.terms[0], point)
    for term in node.terms[1:]:
        total = _add(total, evaluate(term, point), point)
    return total


def _add(left: Value, right: Value, point: Point) -> Value:
    """Add two values, and count terms that are smaller than the other's error bound."""
    if isinstance(left, fmpq) and isinstance(right, fmpq):
        return exact(left + right)
    total = finite(ball(left) + ball(right))
    if 0 not in total.real or 0 not in total.imag:
        radius = max(total.real.rad(), total.imag.rad())
        for term in (left, right):
            size = abs(ball(term))
            if size.upper() < radius and size > 0:
                point.num_absorbed += 1
    return total


def _product(node: Product, point: Point) -> Value:
    total = evaluate(node.factors[0], point)
    for factor in node.factors[1:]:
        total = multiply(total, evaluate(factor, point))
    return total


def _power(node: Power, point: Point) -> Value:
    exponent = evaluate(node.exponent, point)
    if node.base == EULER:
        return exponential(exponent)
    base = evaluate(node.base, point)
    value = power(base, exponent)
    if not is_real(value) and is_real(base) and is_real(exponent):
        point.leaves_reals = True
    return value


def _call(node: Call, point: Point) -> Value:
    special = _SPECIAL.get(node.name)
    if special is not None:
        return special(node, point)
    if node.name == "abs" and isinstance(node.arguments[0], Matrix):
        return _norm(node, point)
    values = [evaluate(argument, point) for argument in node.arguments]
    if node.name == "log" and len(values) == 1:
        value = logarithm(values[0], None if point.is_log_natural else fmpq(10))
    else:
        function = FUNCTIONS.get(node.name)
        if function is None or (len(values) != 1 and node.name not in TAKE_SEVERAL):
            raise NoValueError
        value = function(*values)
    if not is_real(value) and all(map(is_real, values)):
        point.leaves_reals = True
    return value


def _series(node: Call, point: Point) -> Value:
    body, index, low, high = node.arguments
    first, last = (as_integer(evaluate(bound, point)) for bound in (low, high))
    if not -1 <= last - first < MAX_TERMS or not isinstance(index, Symbol):
        raise NoValueError
    before = point.get(index.name)
    total: Value = fmpq(0 if node.name == "sum" else 1)
    for at in range(first, last + 1):
        point[index.name] = fmpq(at)
        term = evaluate(body, point)
        total = _add(total, term, point) if node.name == "sum" else multiply(total, term)
    point.pop(index.name, None)
    if before is not None:
        point[index.name] = before
    return total


def _integral(node: Call, point: Point) -> Value:
    """Integrate numerically, with proven bounds, what has no branch cuts and needs few evaluations."""
    body, variable, low, high = node.arguments
    if not isinstance(variable, Symbol) or not _is_meromorphic(body, variable.name):
        raise NoValueError
    inner = Point(point.index, point.is_log_natural)
    inner.update(point)
    inner.steps = point.steps

    def integrand(at: acb, _is_analytic: bool) -> acb:
        inner[variable.name] = at
        try:
            return ball(evaluate(body, inner))
        except NoValueError:
            return acb(arb.nan())

    first, last = ball(evaluate(low, point)), ball(evaluate(high, point))
    with ctx.workprec(INTEGRAL_PRECISION):
        total = acb.integral(integrand, first, last, eval_limit=MAX_EVALUATIONS, depth_limit=MAX_EVALUATIONS)
    point.steps = inner.steps
    if max(total.real.rad(), total.imag.rad()) > arb(2) ** -INTEGRAL_BITS * (1 + abs(total)):
        raise NoValueError
    return finite(total)


def _is_meromorphic(node: Node, name: str) -> bool:
    """Whether an expression has at most poles as a function of a variable."""
    if name not in names(node):
        return True
    match node:
        case Symbol():
            return True
        case Sum(inner) | Product(inner):
            return all(_is_meromorphic(part, name) for part in inner)
        case Power(base, Number(exponent)):
            return exponent.q == 1 and _is_meromorphic(base, name)
        case Power(base, exponent):
            return name not in names(base) and _is_meromorphic(exponent, name)
        case Call(function, (argument,)):
            return function in _MEROMORPHIC and _is_meromorphic(argument, name)
    return False


def _determinant(node: Call, point: Point) -> Value:
    matrix = matrix_of(node.arguments[0])
    if matrix is None or len(matrix.rows) != len(matrix.rows[0]):
        raise NoValueError
    cells = [[evaluate(cell, point) for cell in row] for row in matrix.rows]
    exact_cells = [[cell for cell in row if isinstance(cell, fmpq)] for row in cells]
    if exact_cells == cells:
        return exact(fmpq_mat(exact_cells).det())
    return finite(acb_mat([[ball(cell) for cell in row] for row in cells]).det())


def _norm(node: Call, point: Point) -> Value:
    """Return the length of a real vector."""
    vector = node.arguments[0]
    cells = parts(vector) if isinstance(vector, Matrix | Collection) else (vector,)
    if isinstance(vector, Matrix) and 1 not in {len(vector.rows), len(vector.rows[0])}:
        raise NoValueError
    values = [evaluate(cell, point) for cell in cells]
    if not all(map(is_real, values)):
        raise NoValueError
    total: Value = fmpq(0)
    for value in values:
        total = _add(total, multiply(value, value), point)
    return power(total, fmpq(1, 2))


# -- functions by cases

TWO = Number(fmpq(2))
_PARITY = re.compile(r"(?:if |when |for )?([a-zA-Z])(?: is)?(?: an?)? (even|odd)(?: integer| number)?")


def _piecewise(node: Piecewise, point: Point) -> Value:
    """Return the value of the first case whose condition holds."""
    for value, condition in node.branches:
        truth = True if condition is None else holds(condition, point)
        if truth is None:
            raise NoValueError
        if truth:
            return evaluate(value, point)
    raise OutsideError


def holds(condition: Node, point: Point) -> Truth:
    """Whether a condition holds at a point: None where it is not certain, or no relation between values.

    Raises:
        NoValueError: a side has no value there.
    """
    if isinstance(condition, Collection):
        combine = some if condition.bracket == "or" else every
        return combine(holds(item, point) for item in condition.items)
    if isinstance(condition, Words):
        parity = read_parity(condition.text)
        return None if parity is None else _is_congruent(Symbol(parity[0]), Number(fmpq(parity[1])), TWO, point)
    if not isinstance(condition, Relation):
        return None
    sides = condition.sides
    if condition.signs == ("equiv",) and isinstance(sides[1], Collection) and len(sides[1].items) == 2:
        return _is_congruent(sides[0], *sides[1].items, point)
    return every(map(lambda left, sign, right: _relates(left, sign, right, point), sides, condition.signs, sides[1:]))


def read_parity(text: str) -> tuple[str, int] | None:
    """Return the variable and its residue modulo 2 that a text such as ``n is even`` names, or None."""
    found = _PARITY.fullmatch(text)
    return None if found is None else (found[1], int(found[2] == "odd"))


def _is_congruent(node: Node, residue: Node, modulus: Node, point: Point) -> Truth:
    """Whether an integer has a residue; no value that is not an integer has any."""
    value, wanted, over = (evaluate(part, point) for part in (node, residue, modulus))
    if not isinstance(value, fmpq) or not isinstance(wanted, fmpq) or not isinstance(over, fmpq) or over == 0:
        return None
    return bool(value.q == 1 and ((value - wanted) / over).q == 1)


def _relates(left: Node, sign: str, right: Node, point: Point) -> Truth:
    if sign in {"in", "notin"}:
        inside = _is_inside(left, right, point)
        return inside if inside is None or sign == "in" else not inside
    order = _order(evaluate(left, point), evaluate(right, point))
    return None if order is None or sign not in _ORDERS else order in _ORDERS[sign]


def _is_inside(node: Node, interval: Node, point: Point) -> Truth:
    """Whether a value is in an interval with finite ends or in a union of such."""
    if isinstance(interval, SetExpression) and interval.sign == "cup":
        return some(_is_inside(node, part, point) for part in interval.parts)
    if not isinstance(interval, Collection) or len(interval.items) != 2:
        return None
    low, high = interval.items
    signs = {"(": "<", "[": "<=", ")": "<", "]": "<="}
    if interval.bracket not in {"()", "[]", "(]", "[)"}:
        return None
    return every(
        _relates(below, signs[bracket], above, point)
        for below, bracket, above in ((low, interval.bracket[0], node), (node, interval.bracket[1], high))
        if not _is_infinite(below) and not _is_infinite(above)
    )


def _is_infinite(node: Node) -> bool:
    return node in (INFINITY, Product((MINUS_ONE, INFINITY)))


def _order(left: Value, right: Value) -> int | None:
    """Return -1, 0 or 1 as a real value is less than, equal to or greater than another; None where unclear."""
    if not (is_real(left) and is_real(right)):
        return None
    one, other = (value if isinstance(value, fmpq) else value.real for value in (left, right))
    if one < other:
        return -1
    if one > other:
        return 1
    return 0 if same_values(left, right) else None


_ORDERS: Mapping[str, frozenset[int]] = {
    "<": frozenset({-1}),
    "<=": frozenset({-1, 0}),
    "=": frozenset({0}),
    ">=": frozenset({0, 1}),
    ">": frozenset({1}),
    "!=": frozenset({-1, 1}),
}


_CONSTANTS: Mapping[str, Callable[[], Value]] = {
    "pi": lambda: acb.pi(),
    "e": lambda: acb(1).exp(),
    "i": lambda: acb(0, 1),
}
_MEROMORPHIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"})
_EVALUATE: Mapping[type, Callable[..., Value]] = {
    Number: _number,
    Symbol: _symbol,
    Sum: _sum,
    Product: _product,
    Power: _power,
    Call: _call,
    Quantity: _quantity,
    Piecewise: _piecewise,
}
_SPECIAL: Mapping[str, Callable[[Call, Point], Value]] = {
    "sum": _series,
    "prod": _series,
    "integral": _integral,
    "det": _determinant,
    "norm": _norm,
}


CONSTANT_NAMES: Final = frozenset({"pi", "e", "i", "infinity", "reals", "log"})
"""What `names` returns that is not a variable."""


_BINDING = frozenset({"sum", "prod", "integral"})


def symbols(node: Node) -> set[str]:
    """Return the names of the variables in an expression."""
    return names(node) - CONSTANT_NAMES


def names(node: Node) -> set[str]:
    """Return the names of variables and constants in an expression, and log for a logarithm without a base."""
    found: set[str] = set()
    bound: set[str] = set()
    rest: list[Node] = [node]
    while rest:
        one = rest.pop()
        if isinstance(one, Number):
            continue
        if isinstance(one, Symbol):
            found.add(one.name)
            continue
        if isinstance(one, Call):
            if one.name == "log" and len(one.arguments) == 1:
                found.add("log")
            if one.name in _BINDING:
                bound |= names(one.arguments[1])
        rest += parts(one)
    return found - bound if bound else found


def parts(node: Node) -> tuple[Node, ...]:
    """Return the nodes right below a node."""
    return _PARTS.get(type(node), _no_parts)(node)


def _no_parts(node: Node) -> tuple[Node, ...]:
    return ()


_PARTS: Mapping[type, Callable[..., tuple[Node, ...]]] = {
    Sum: lambda node: node.terms,
    Product: lambda node: node.factors,
    Power: lambda node: (node.base, node.exponent),
    Call: lambda node: node.arguments,
    PlusMinus: lambda node: (node.body,),
    Collection: lambda node: node.items,
    Relation: lambda node: node.sides,
    SetExpression: lambda node: node.parts,
    Ratio: lambda node: node.parts,
    Quantity: lambda node: (node.value,),
    Matrix: lambda node: tuple(cell for row in node.rows for cell in row),
    Table: lambda node: tuple(cell for row in node.rows for cell in row),
    Piecewise: lambda node: tuple(part for branch in node.branches for part in branch if part is not None),
}
