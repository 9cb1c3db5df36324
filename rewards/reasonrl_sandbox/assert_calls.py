"""Reads asserts as calls with expected values, where every assert compares one call to a constant."""

import ast
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import nextafter
from typing import Any, TypeGuard, get_args

from reasonrl_sandbox.asserts import called_name, is_always_true, names_in, read_text
from reasonrl_sandbox.child.codec import TYPES
from reasonrl_sandbox.compare import ComparisonRules, Conversion, Numbers, Relation, is_tolerance
from reasonrl_sandbox.forms import AssertTests, CallTests, Case

MAX_CONSTANT = 100_000
"""Items of a repetition, and digits of a power, up to which an expression counts as a constant."""


class NotConstantError(Exception):
    """The expression is not a constant, or the assert does not compare to one."""


def as_calls(tests: AssertTests) -> CallTests | None:
    """Return the asserts as calls, or None where one of them needs more than a comparison to a constant.

    Values compare by Python's `==` on plain data. An answer that is not plain data is wrong, whatever its class says.

    Raises:
        DataError: The text is not Python.
    """
    text = read_text(tests)
    asserts = [node for node in text.body if isinstance(node, ast.Assert) and not is_always_true(node)]
    used = {name.id for node in asserts for name in ast.walk(node) if isinstance(name, ast.Name)}
    if not asserts or not all(isinstance(node, ast.Assert) or _is_idle(node, used, text.aliases) for node in text.body):
        return None
    try:
        return CallTests(tests.entry, tuple(_case(node.test, text.aliases) for node in asserts))
    except (NotConstantError, RecursionError):
        return None


def _is_idle(node: ast.stmt, used: set[str], aliases: frozenset[str]) -> bool:
    """Return whether a statement can be left out: an import, a constant by itself, a name that no assert uses."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass)):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, (ast.Constant, ast.Name))
    if isinstance(node, ast.Assign) and not names_in(node.value) & aliases:
        return all(isinstance(target, ast.Name) and target.id not in used | aliases for target in node.targets)
    return False


def _case(test: ast.expr, aliases: frozenset[str]) -> Case:
    """Return the call that an assert makes, with what it asks of the answer."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _answer(test.operand, aliases).case("falsy")
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        return _compared(test.left, test.ops[0], test.comparators[0], aliases)
    if isinstance(test, ast.Call) and ast.unparse(test.func) == "math.isclose" and len(test.args) == 2:
        return _isclose(test, aliases)
    return _answer(test, aliases).case("truthy")


def _compared(left: ast.expr, sign: ast.cmpop, right: ast.expr, aliases: frozenset[str]) -> Case:
    """Return the call of `f(x) == y`, `f(x) is None` or `abs(f(x) - y) < tol`."""
    if isinstance(sign, (ast.Lt, ast.LtE)):
        return _within(left, sign, _number(right), aliases)
    answer, wanted = (left, right) if aliases & names_in(left) else (right, left)
    expected = constant(wanted)
    if isinstance(sign, ast.Eq):
        return _answer(answer, aliases).case("equal", expected)
    if isinstance(sign, ast.Is) and isinstance(expected, bool | None):
        return _answer(answer, aliases).case("equal", expected, numbers="exact")
    raise NotConstantError


def _within(left: ast.expr, sign: ast.cmpop, tolerance: float, aliases: frozenset[str]) -> Case:
    """Return the call of `abs(f(x) - y) < tol`."""
    if not (isinstance(left, ast.Call) and called_name(left) == "abs" and len(left.args) == 1):
        raise NotConstantError
    apart = left.args[0]
    if not (isinstance(apart, ast.BinOp) and isinstance(apart.op, ast.Sub)) or not (
        tolerance and is_tolerance(tolerance)
    ):
        raise NotConstantError
    answer, wanted = (apart.left, apart.right) if aliases & names_in(apart.left) else (apart.right, apart.left)
    # A tolerance is inclusive, `<` is not.
    abs_tol = nextafter(tolerance, 0) if isinstance(sign, ast.Lt) else tolerance
    return _answer(answer, aliases).case("equal", _number(wanted), abs_tol=abs_tol)


def _isclose(test: ast.Call, aliases: frozenset[str]) -> Case:
    """Return the call of `math.isclose(f(x), y, rel_tol=...)`."""
    named = {word.arg: _number(word.value) for word in test.keywords}
    if not named.keys() <= {"rel_tol", "abs_tol"} or not all(map(is_tolerance, named.values())):
        raise NotConstantError
    left, right = test.args
    answer, wanted = (left, right) if aliases & names_in(left) else (right, left)
    abs_tol, rel_tol = named.get("abs_tol", 0.0), named.get("rel_tol", 1e-9)
    return _answer(answer, aliases).case("equal", _number(wanted), abs_tol=abs_tol, rel_tol=rel_tol)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A call with constant arguments, and the functions that a test puts around it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    conversions: tuple[Conversion, ...]

    def case(
        self,
        relation: Relation,
        expected: object = None,
        numbers: Numbers = "python",
        abs_tol: float = 0.0,
        rel_tol: float = 0.0,
    ) -> Case:
        """Return the call as a case."""
        comparison = ComparisonRules(relation, self.conversions, numbers, abs_tol=abs_tol, rel_tol=rel_tol)
        return Case(self.args, self.kwargs, expected, comparison)


def _answer(node: ast.expr, aliases: frozenset[str]) -> _Answer:
    """Read `f(x)` or `sorted(f(x))`."""
    if not isinstance(node, ast.Call):
        raise NotConstantError
    if called_name(node) not in aliases:
        return _converted(node, aliases)
    kwargs = {word.arg: constant(word.value) for word in node.keywords if word.arg}
    if len(kwargs) < len(node.keywords):
        raise NotConstantError
    return _Answer(tuple(constant(arg) for arg in node.args), kwargs, ())


def _converted(node: ast.Call, aliases: frozenset[str]) -> _Answer:
    name = called_name(node)
    if not _is_conversion(name) or len(node.args) != 1 or node.keywords:
        raise NotConstantError
    inner = _answer(node.args[0], aliases)
    return _Answer(inner.args, inner.kwargs, (*inner.conversions, name))


def _is_conversion(name: str) -> TypeGuard[Conversion]:
    return name in get_args(Conversion)


def _number(node: ast.expr) -> float:
    value = constant(node)
    if type(value) not in (int, float):
        raise NotConstantError
    return value  # type: ignore[no-any-return]  # one of the two, as the line before has asked


# Any: a constant may be any plain value.
def constant(node: ast.expr) -> Any:
    """Return the value of a literal, of arithmetic on literals, or of a built-in type by its name."""
    try:
        return _evaluated(node)
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        raise NotConstantError from None


def _evaluated(node: ast.expr | None) -> Any:
    """Return the value of an expression that calls only constructors."""
    match node:
        case ast.Constant(value=value) if value is not Ellipsis:
            return value
        case ast.List(elts=items):
            return [_evaluated(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_evaluated(item) for item in items)
        case ast.Set(elts=items):
            return {_evaluated(item) for item in items}
        case ast.Dict(keys=keys, values=values):
            return {_evaluated(key): _evaluated(value) for key, value in zip(keys, values, strict=True)}
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _UNARY:
            return _UNARY[type(sign)](_evaluated(operand))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            return _arithmetic(type(sign), _evaluated(left), _evaluated(right))
        case ast.Name(id=name) if name in TYPES:
            return TYPES[name]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _CONSTRUCTORS:
            return _CONSTRUCTORS[name](*[_evaluated(arg) for arg in args])
    raise NotConstantError


# Any: operators on constants of any type.
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (list, tuple, set, frozenset, dict, float, complex, sorted)
}


def _arithmetic(sign: type[ast.operator], left: Any, right: Any) -> Any:
    """Return what an operator gives, unless it would be huge."""
    if sign is ast.Pow and not (isinstance(left, int | float) and isinstance(right, int) and abs(right) <= 1000):
        raise NotConstantError
    if sign is ast.Mult and any(len(side) * abs(times) > MAX_CONSTANT for side, times in _repeats(left, right)):
        raise NotConstantError
    return _BINARY[sign](left, right)


def _repeats(left: Any, right: Any) -> Iterator[tuple[Any, int]]:
    """Yield a sequence and how often a product repeats it."""
    for side, times in ((left, right), (right, left)):
        if isinstance(times, int) and not isinstance(side, int | float | complex):
            yield side, times
