"""Test text made of asserts, read without running it: as calls where that loses nothing, else as statements."""

import ast
import builtins
import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import nextafter
from typing import Any, TypeGuard, get_args

from reasonrl.errors import DataError
from reasonrl.sandbox.child.codec import TYPES
from reasonrl.sandbox.compare import Comparison, Numbers, Relation, Through, is_tolerance
from reasonrl.sandbox.forms import AssertTests, CallTests, Case

MAX_CONSTANT = 100_000
"""Items that a repetition, and digits that a power, may have and still be a constant."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of the test text."""

    source: str
    """Its text."""
    is_test: bool
    """Whether it is a test of its own, or only prepares others."""


@dataclass(frozen=True, slots=True)
class Script:
    """Test text as the driver runs it, statement by statement."""

    statements: tuple[Statement, ...]
    """The text."""
    aliases: tuple[str, ...]
    """Names that the function under test goes by."""
    modules: tuple[str, ...]
    """Modules of the standard library that the text uses without importing them."""
    names: tuple[str, ...]
    """Names that nothing here defines: the program has to."""

    @property
    def num_tests(self) -> int:
        """How many of the statements are tests."""
        return sum(statement.is_test for statement in self.statements)


def read_script(tests: AssertTests) -> Script:
    """Cut test text into statements.

    Raises:
        DataError: The text is no Python, or nothing in it tests the function.
    """
    text = _read(tests)
    setup = _parse(tests.setup, "asserts: setup")
    free = sorted(_free_names([*setup.body, *text.body]) - {tests.entry, *text.aliases})
    script = Script(
        statements=tuple(Statement(_written(node), _is_test(node, text.aliases)) for node in text.body),
        aliases=tuple(sorted(text.aliases)),
        modules=tuple(name for name in free if name in sys.stdlib_module_names),
        names=tuple(name for name in free if name not in sys.stdlib_module_names),
    )
    if not script.num_tests:
        raise DataError(f"asserts: no assert in the source tests {tests.entry!r}.")
    return script


def open_names(source: str) -> list[str]:
    """Return what a file of tests may take from `from solution import *`: names that are not Python's or its own.

    A program that defines `sorted` would sort for its tests.

    Raises:
        DataError: The file is no Python.
    """
    body = _parse(source, "file tests: source").body
    own = {name for statement in body for name in _bound(statement)}
    used = {name for statement in body for name in _names(statement)}
    return sorted(used - own - set(dir(builtins)))


def as_calls(tests: AssertTests) -> CallTests | None:
    """Return the asserts as calls, or None where one of them needs more than a comparison to a constant.

    Values compare as Python's `==` has it. What it leaves to an answer's own class does not arise: an answer that is
    no plain data is wrong, whatever it says about itself.

    Raises:
        DataError: The text is no Python.
    """
    text = _read(tests)
    asserts = [node for node in text.body if isinstance(node, ast.Assert) and not _is_true(node)]
    used = {name.id for node in asserts for name in ast.walk(node) if isinstance(name, ast.Name)}
    if not asserts or not all(isinstance(node, ast.Assert) or _is_idle(node, used, text.aliases) for node in text.body):
        return None
    try:
        return CallTests(tests.entry, tuple(_case(node.test, text.aliases) for node in asserts))
    except (_NotConstantError, RecursionError):
        return None


def _written(node: ast.stmt) -> str:
    """Return the text of a statement."""
    try:
        return ast.unparse(node)
    except (RecursionError, ValueError) as error:  # Nested too deep, or an integer too long to be written.
        raise DataError(f"asserts: source: line {node.lineno} cannot be used: {error}.") from None


@dataclass(frozen=True, slots=True)
class _Text:
    """Test text with the body of its `check` function, if it has one, in place of the function."""

    body: list[ast.stmt]
    aliases: frozenset[str]


class _NotConstantError(Exception):
    """What was read is no constant, or no assert that compares to one."""


def _parse(source: str, where: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # A deep nesting may be any of the last two.
        raise DataError(f"{where} is no Python: {error}.") from None


def _read(tests: AssertTests) -> _Text:
    """Parse test text, and put the body of `check(candidate)` into the open."""
    body = _parse(tests.source, "asserts: source").body
    check = next((node for node in body if _is_check(node)), None)
    if check is None:
        return _Text(body, frozenset({tests.entry}))
    rest = [node for node in body if node is not check and not _is_call_of_check(node)]
    if _has_own_scope(check) or any(_names(node) & {"check"} for node in rest):
        call = ast.parse(f"check({tests.entry})").body
        return _Text([node for node in body if not _is_call_of_check(node)] + call, frozenset({tests.entry}))
    return _Text(rest + check.body, frozenset({tests.entry, check.args.args[0].arg}))


def _is_check(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    """Say whether a statement is HumanEval's `def check(candidate):`."""
    return isinstance(node, ast.FunctionDef) and node.name == "check" and len(node.args.args) == 1


def _is_call_of_check(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _called(node.value) == "check"


def _has_own_scope(function: ast.FunctionDef) -> bool:
    """Say whether a function's body means something else outside of it."""
    kinds = (ast.Return, ast.Yield, ast.YieldFrom, ast.Global, ast.Nonlocal)
    return any(isinstance(node, kinds) for node in ast.walk(function))


def _names(node: ast.AST) -> set[str]:
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


def _is_test(node: ast.stmt, aliases: frozenset[str]) -> bool:
    """Say whether a statement tests: it asserts, or calls the function for its effect."""
    if isinstance(node, ast.Assert):
        return not _is_true(node)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)):
        return False
    if any(isinstance(inner, ast.Assert) for inner in ast.walk(node)):
        return True
    calling = (ast.Expr, ast.With, ast.Try, ast.For, ast.While, ast.If)
    return isinstance(node, calling) and bool(_names(node) & (aliases | {"check"}))


def _is_true(node: ast.Assert) -> bool:
    """Say whether an assert holds whatever the program does, as HumanEval's `assert True, "..."`."""
    return isinstance(node.test, ast.Constant) and bool(node.test.value)


def _is_idle(node: ast.stmt, used: set[str], aliases: frozenset[str]) -> bool:
    """Say whether a statement can be left out: an import, a constant by itself, a name that no assert uses."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass)):
        return True
    if isinstance(node, ast.Expr):
        return isinstance(node.value, (ast.Constant, ast.Name))
    if isinstance(node, ast.Assign) and not _names(node.value) & aliases:
        return all(isinstance(target, ast.Name) and target.id not in used | aliases for target in node.targets)
    return False


def _free_names(body: Sequence[ast.stmt]) -> set[str]:
    """Return the names that statements use and nothing in them defines."""
    used, defined = set[str](), set(dir(builtins))
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else defined).add(node.id)
        else:
            defined.update(_defined(node))
    return used - defined


def _bound(statement: ast.stmt) -> set[str]:
    """Return the names that a statement of a file defines for the whole file."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {name for alias in statement.names for name in _defined(alias)}
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    nodes = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
    return {node.id for node in nodes if isinstance(node.ctx, ast.Store)}


def _defined(node: ast.AST) -> Iterator[str]:
    """Give the names that a node other than a name defines."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).split(".")[0]
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name


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
    answer, wanted = (left, right) if aliases & _names(left) else (right, left)
    expected = _constant(wanted)
    if isinstance(sign, ast.Eq):
        return _answer(answer, aliases).case("equal", expected)
    if isinstance(sign, ast.Is) and isinstance(expected, bool | None):
        return _answer(answer, aliases).case("equal", expected, numbers="exact")
    raise _NotConstantError


def _within(left: ast.expr, sign: ast.cmpop, tolerance: float, aliases: frozenset[str]) -> Case:
    """Return the call of `abs(f(x) - y) < tol`."""
    if not (isinstance(left, ast.Call) and _called(left) == "abs" and len(left.args) == 1):
        raise _NotConstantError
    apart = left.args[0]
    if not (isinstance(apart, ast.BinOp) and isinstance(apart.op, ast.Sub)) or not (
        tolerance and is_tolerance(tolerance)
    ):
        raise _NotConstantError
    answer, wanted = (apart.left, apart.right) if aliases & _names(apart.left) else (apart.right, apart.left)
    abs_tol = nextafter(tolerance, 0) if isinstance(sign, ast.Lt) else tolerance
    return _answer(answer, aliases).case("equal", _number(wanted), abs_tol=abs_tol)


def _isclose(test: ast.Call, aliases: frozenset[str]) -> Case:
    """Return the call of `math.isclose(f(x), y, rel_tol=...)`."""
    named = {word.arg: _number(word.value) for word in test.keywords}
    if not named.keys() <= {"rel_tol", "abs_tol"} or not all(map(is_tolerance, named.values())):
        raise _NotConstantError
    left, right = test.args
    answer, wanted = (left, right) if aliases & _names(left) else (right, left)
    abs_tol, rel_tol = named.get("abs_tol", 0.0), named.get("rel_tol", 1e-9)
    return _answer(answer, aliases).case("equal", _number(wanted), abs_tol=abs_tol, rel_tol=rel_tol)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A call with constant arguments, and the functions that a test puts around it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    through: tuple[Through, ...]

    def case(
        self,
        relation: Relation,
        expected: object = None,
        numbers: Numbers = "python",
        abs_tol: float = 0.0,
        rel_tol: float = 0.0,
    ) -> Case:
        """Return the call as a case."""
        comparison = Comparison(relation, self.through, numbers, abs_tol=abs_tol, rel_tol=rel_tol)
        return Case(self.args, self.kwargs, expected, comparison)


def _answer(node: ast.expr, aliases: frozenset[str]) -> _Answer:
    """Read `f(x)` or `sorted(f(x))`."""
    if not isinstance(node, ast.Call):
        raise _NotConstantError
    if _called(node) not in aliases:
        return _through(node, aliases)
    kwargs = {word.arg: _constant(word.value) for word in node.keywords if word.arg}
    if len(kwargs) < len(node.keywords):
        raise _NotConstantError
    return _Answer(tuple(_constant(arg) for arg in node.args), kwargs, ())


def _through(node: ast.Call, aliases: frozenset[str]) -> _Answer:
    name = _called(node)
    if not _is_through(name) or len(node.args) != 1 or node.keywords:
        raise _NotConstantError
    inner = _answer(node.args[0], aliases)
    return _Answer(inner.args, inner.kwargs, (*inner.through, name))


def _is_through(name: str) -> TypeGuard[Through]:
    return name in get_args(Through)


def _called(call: ast.Call) -> str:
    """Return the name that a call calls, or its text where it is more than a name."""
    return call.func.id if isinstance(call.func, ast.Name) else ast.unparse(call.func)


def _number(node: ast.expr) -> float:
    value = _constant(node)
    if type(value) not in (int, float):
        raise _NotConstantError
    return value  # type: ignore[no-any-return]  # one of the two, as the line before has asked


# Any: a constant may be any plain value.
def _constant(node: ast.expr) -> Any:
    """Return the value of a literal, of arithmetic on literals, or of a built-in type by its name."""
    try:
        return _evaluated(node)
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        raise _NotConstantError from None


def _evaluated(node: ast.expr | None) -> Any:
    """Return the value of an expression that calls nothing but constructors."""
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
    raise _NotConstantError


# Any: Python's own operators, on constants of any type.
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
        raise _NotConstantError
    if sign is ast.Mult and any(len(side) * abs(times) > MAX_CONSTANT for side, times in _repeats(left, right)):
        raise _NotConstantError
    return _BINARY[sign](left, right)


def _repeats(left: Any, right: Any) -> Iterator[tuple[Any, int]]:
    """Give a sequence and how often a product repeats it."""
    for side, times in ((left, right), (right, left)):
        if isinstance(times, int) and not isinstance(side, int | float | complex):
            yield side, times
