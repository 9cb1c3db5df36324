"""The symbolic tier: sympy decides what values leave open.

It is given trees of this package, never a text, so whatever it decides takes all of both sides into account. What it
cannot translate, such as a power that is too large to write out, becomes an unknown of its own; then only an equality
that holds for every value of it, or a difference that is a number, decides. It has no time limit of its own: call it in
processes that can be killed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sympy
from flint import fmpq

from reasonrl_grading.algebra import is_opaque
from reasonrl_grading.logic import Truth
from reasonrl_grading.matrices import matrix_of
from reasonrl_grading.nodes import (
    Call,
    Collection,
    Node,
    Number,
    Piecewise,
    Power,
    Product,
    Quantity,
    Relation,
    Sum,
    Symbol,
)
from reasonrl_grading.systems import difference
from reasonrl_grading.units import DEGREE, PERCENT
from reasonrl_grading.values import names, parts, symbols

MAX_NODES: Final = 300
"""Nodes of an answer that is passed on."""

MAX_BITS: Final = 4096
"""Bits of a number that is written out."""

MAX_FACTORIAL: Final = 300
"""Argument of a factorial that is worked out."""

MAX_DEGREE: Final = 6
"""Total degree of an equation whose solutions are compared."""

MAX_UNKNOWNS: Final = 4
"""Unknowns of a system whose solutions are compared."""

# sympy has no type annotations
Expression = Any


def settled(given: Node, wanted: Node) -> Truth:
    """Whether two expressions, or two systems of relations, are equal; None where sympy cannot tell."""
    if _size(given) > MAX_NODES or _size(wanted) > MAX_NODES:
        return None
    try:
        if isinstance(given, Collection) and isinstance(wanted, Collection):
            return _same_systems(_relations(given), _relations(wanted))
        return _same_expressions(given, wanted)
    except Exception:  # sympy raises errors of many kinds on what it does not know
        return None


def _size(node: Node) -> int:
    return 1 + sum(map(_size, parts(node)))


# -- expressions


def _same_expressions(given: Node, wanted: Node) -> Truth:
    translate = Translator(is_real="i" not in names(given) | names(wanted))
    left, right = translate(given), translate(wanted)
    if any(side.has(sympy.oo, -sympy.oo, sympy.zoo, sympy.nan) for side in (left, right)):
        return None
    rest = sympy.simplify(left - right)
    if rest == 0:
        return True
    if translate.unknowns:
        return False if rest.is_number and rest.is_zero is False else None
    outcome: bool | None = rest.equals(0)
    return outcome


class _UntranslatableError(Exception):
    """Has no counterpart in sympy, or is too large."""


class Translator:
    """Makes sympy's objects from nodes: each too large node becomes an unknown, equal nodes the same."""

    def __init__(self, *, is_real: bool) -> None:
        self.unknowns: dict[Node, Expression] = {}
        self.is_real = is_real

    def __call__(self, node: Node) -> Expression:
        """Return the object for an expression.

        Raises:
            _UntranslatableError: it is none.
        """
        translate = _TRANSLATE.get(type(node))
        if translate is None:
            raise _UntranslatableError
        return translate(self, node)

    def unknown(self, node: Node) -> Expression:
        """Return the unknown that stands for a node."""
        return self.unknowns.setdefault(node, sympy.Dummy(f"too_large_{len(self.unknowns)}"))

    def symbol(self, name: str) -> Expression:
        """Return a variable, real unless the imaginary unit occurs."""
        return sympy.Symbol(name, real=True) if self.is_real else sympy.Symbol(name)


def _rational(value: fmpq) -> Expression:
    return sympy.Rational(int(value.p), int(value.q))


def _number(translate: Translator, node: Number) -> Expression:
    return _rational(node.value) if node.value.height_bits() <= MAX_BITS else translate.unknown(node)


def _symbol(translate: Translator, node: Symbol) -> Expression:
    if is_opaque(node):
        raise _UntranslatableError
    return _CONSTANTS[node.name] if node.name in _CONSTANTS else translate.symbol(node.name)


def _sum(translate: Translator, node: Sum) -> Expression:
    return sympy.Add(*map(translate, node.terms))


def _product(translate: Translator, node: Product) -> Expression:
    return sympy.Mul(*map(translate, node.factors))


def _power(translate: Translator, node: Power) -> Expression:
    base, exponent = translate(node.base), translate(node.exponent)
    if base.is_Rational and exponent.is_Rational:
        bits = max(int(base.p).bit_length(), int(base.q).bit_length())
        if bits * abs(exponent) > MAX_BITS:
            return translate.unknown(node)
    if exponent.is_number and not abs(sympy.N(exponent)) < MAX_BITS:
        return translate.unknown(node)
    return _root(translate, base, exponent)


def _root(translate: Translator, base: Expression, exponent: Expression) -> Expression:
    """Return a power; an odd root of a real number is the real one."""
    if translate.is_real and exponent.is_Rational and exponent.q % 2 and exponent.q > 1:
        return sympy.real_root(base, exponent.q) ** exponent.p
    return sympy.Pow(base, exponent)


def _quantity(translate: Translator, node: Quantity) -> Expression:
    if node.unit == PERCENT:
        return translate(node.value) / 100
    if node.unit == DEGREE:
        return translate(node.value) * sympy.pi / 180
    raise _UntranslatableError


def _call(translate: Translator, node: Call) -> Expression:
    if node.name == "det":
        return _determinant(translate, node)
    if node.name in _WITH_BOUNDS and len(node.arguments) == 4:
        body, index, low, high = map(translate, node.arguments)
        if node.name != "integral" and not all(map(_is_whole, (low, high))):
            raise _UntranslatableError
        return _WITH_BOUNDS[node.name](body, (index, low, high))
    if node.name == "root":
        body, degree = map(translate, node.arguments)
        return _root(translate, body, 1 / degree)
    function = _FUNCTIONS.get(node.name)
    if function is None:
        raise _UntranslatableError
    arguments = [translate(argument) for argument in node.arguments]
    if node.name in _GROWING and any(one.is_number and not abs(sympy.N(one)) <= MAX_FACTORIAL for one in arguments):
        return translate.unknown(node)
    return function(*arguments)


def _is_whole(bound: Expression) -> bool:
    """Whether a sum may have a bound: an integer, an infinity or an expression in variables."""
    return not bound.is_number or bound.is_integer is True or bound.is_infinite is True


def _determinant(translate: Translator, node: Call) -> Expression:
    matrix = matrix_of(node.arguments[0])
    if matrix is None or len(matrix.rows) != len(matrix.rows[0]):
        raise _UntranslatableError
    return sympy.Matrix([[translate(cell) for cell in row] for row in matrix.rows]).det()


def _piecewise(translate: Translator, node: Piecewise) -> Expression:
    return sympy.Piecewise(
        *((translate(value), _condition(translate, condition)) for value, condition in node.branches)
    )


def _condition(translate: Translator, condition: Node | None) -> Expression:
    if condition is None:
        return True
    if isinstance(condition, Collection):
        combine = sympy.Or if condition.bracket == "or" else sympy.And
        return combine(*(_condition(translate, item) for item in condition.items))
    if not isinstance(condition, Relation) or not _RELATIONS.keys() >= set(condition.signs):
        raise _UntranslatableError
    sides = [translate(side) for side in condition.sides]
    return sympy.And(*(_RELATIONS[sign](*pair) for sign, *pair in zip(condition.signs, sides, sides[1:], strict=False)))


def _logarithm(argument: Expression, base: Expression | None = None) -> Expression:
    return sympy.log(argument) if base is None else sympy.log(argument, base)


def _integral(body: Expression, bounds: tuple[Expression, ...]) -> Expression:
    return sympy.integrate(body, bounds)


def _series(body: Expression, bounds: tuple[Expression, ...]) -> Expression:
    return sympy.Sum(body, bounds).doit()


def _continued_product(body: Expression, bounds: tuple[Expression, ...]) -> Expression:
    return sympy.Product(body, bounds).doit()


_CONSTANTS: Mapping[str, Expression] = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "infinity": sympy.oo}
_TRANSLATE: Mapping[type, Callable[[Translator, Any], Expression]] = {  # Any: one of the node types
    Number: _number,
    Symbol: _symbol,
    Sum: _sum,
    Product: _product,
    Power: _power,
    Quantity: _quantity,
    Call: _call,
    Piecewise: _piecewise,
}
_SAME_NAMES = "sin cos tan cot sec csc sinh cosh tanh coth sech csch asin acos atan acot asinh acosh atanh"
_FUNCTIONS: Mapping[str, Callable[..., Expression]] = {name: getattr(sympy, name) for name in _SAME_NAMES.split()} | {
    "ln": sympy.log,
    "log": _logarithm,
    "abs": sympy.Abs,
    "floor": sympy.floor,
    "ceil": sympy.ceiling,
    "factorial": sympy.factorial,
    "gamma": sympy.gamma,
    "binomial": sympy.binomial,
    "gcd": sympy.gcd,
    "lcm": sympy.lcm,
    "max": sympy.Max,
    "min": sympy.Min,
    "cis": lambda angle: sympy.exp(sympy.I * angle),
    "degrees": lambda angle: angle * sympy.pi / 180,
    "percent": lambda value: value / 100,
}
_GROWING = frozenset({"factorial", "gamma", "binomial"})
_WITH_BOUNDS: Mapping[str, Callable[[Expression, tuple[Expression, ...]], Expression]] = {
    "integral": _integral,
    "sum": _series,
    "prod": _continued_product,
}
_RELATIONS: Mapping[str, Callable[[Expression, Expression], Expression]] = {
    "=": sympy.Eq, "!=": sympy.Ne, "<": sympy.Lt, "<=": sympy.Le, ">": sympy.Gt, ">=": sympy.Ge,
}  # fmt: skip


# -- systems


def _relations(node: Collection) -> list[Relation]:
    return [item for item in node.items if isinstance(item, Relation)]


def _same_systems(given: Sequence[Relation], wanted: Sequence[Relation]) -> Truth:
    """Compare the solutions of systems of equations, or of inequalities in one unknown."""
    unknowns = sorted({name for relation in (*given, *wanted) for name in symbols(relation)})
    if not 0 < len(unknowns) <= MAX_UNKNOWNS:
        return None
    translate = Translator(is_real=True)
    if all(relation.signs == ("=",) for relation in (*given, *wanted)):
        generators = [translate.symbol(name) for name in unknowns]
        return _same_varieties(
            [_polynomial(translate, relation, generators) for relation in given],
            [_polynomial(translate, relation, generators) for relation in wanted],
            generators,
        )
    if len(unknowns) != 1:
        return None
    one, other = (_solution_set(translate, relations, unknowns[0]) for relations in (given, wanted))
    rest = sympy.SymmetricDifference(one, other)
    return True if one == other else rest.is_empty


def _polynomial(translate: Translator, relation: Relation, generators: Sequence[Expression]) -> Expression:
    """Return the numerator of an equation's difference.

    Raises:
        _UntranslatableError: it is no polynomial, or of too high a degree.
    """
    top, _ = sympy.fraction(sympy.together(translate(difference(relation))))
    polynomial = sympy.Poly(top, *generators)
    if polynomial.total_degree() > MAX_DEGREE or not polynomial.domain.is_Numerical:
        raise _UntranslatableError
    return polynomial.as_expr()


def _same_varieties(one: list[Expression], other: list[Expression], generators: Sequence[Expression]) -> bool:
    """Whether two systems of polynomial equations have the same complex solutions."""
    return all(_vanishes(polynomial, other, generators) for polynomial in one) and all(
        _vanishes(polynomial, one, generators) for polynomial in other
    )


def _vanishes(polynomial: Expression, system: list[Expression], generators: Sequence[Expression]) -> bool:
    """Whether a polynomial is 0 at all solutions: then no solution makes it invertible (Rabinowitsch's trick)."""
    inverse = sympy.Dummy("inverse")
    basis = sympy.groebner([*system, 1 - inverse * polynomial], inverse, *generators, order="grevlex")
    return bool(basis.exprs == [1])


def _solution_set(translate: Translator, relations: Sequence[Relation], unknown: str) -> Expression:
    symbol = translate.symbol(unknown)
    sets = [sympy.solveset(_condition(translate, relation), symbol, domain=sympy.S.Reals) for relation in relations]
    return sympy.Intersection(*sets)
