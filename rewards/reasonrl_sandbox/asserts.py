"""Parses test text made of asserts into statements, without running it."""

import ast
import builtins
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from reasonrl.errors import DataError
from reasonrl_sandbox.forms import AssertTests


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of the test text."""

    source: str
    """Its text."""
    is_test: bool
    """Whether it is a test of its own, or only prepares others."""


@dataclass(frozen=True, slots=True)
class Script:
    """Test text in the form that `child/driver.py` runs, statement by statement."""

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
    """Split test text into statements.

    Raises:
        DataError: The text is not Python, or nothing in it tests the function.
    """
    text = read_text(tests)
    setup = parse_python(tests.setup, "asserts: setup")
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
    """Return what `from solution import *` may import into a file of tests: names that nothing else defines.

    Built-in names are none of them: a program that defines `sorted` would otherwise sort for its tests.

    Raises:
        DataError: The file is not Python.
    """
    body = parse_python(source, "file tests: source").body
    own = {name for statement in body for name in _bound(statement)}
    used = {name for statement in body for name in names_in(statement)}
    return sorted(used - own - set(dir(builtins)))


def _written(node: ast.stmt) -> str:
    """Return the text of a statement."""
    try:
        return ast.unparse(node)
    except (RecursionError, ValueError) as error:  # nested too deep, or an integer too long to print
        raise DataError(f"asserts: source: line {node.lineno} cannot be used: {error}.") from None


@dataclass(frozen=True, slots=True)
class ParsedText:
    """Test text with the body of its `check` function, if it has one, in place of the function."""

    body: list[ast.stmt]
    aliases: frozenset[str]


def parse_python(source: str, where: str) -> ast.Module:
    """Parse Python.

    Raises:
        DataError: It is none; `where` begins the message.
    """
    try:
        return ast.parse(source)
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # the last two: nested too deep
        raise DataError(f"{where} is not Python: {error}.") from None


def read_text(tests: AssertTests) -> ParsedText:
    """Parse test text, and replace a function `check(candidate)` by its body, so that each assert is a test.

    Raises:
        DataError: The text is not Python.
    """
    body = parse_python(tests.source, "asserts: source").body
    check = next((node for node in body if _is_check(node)), None)
    if check is None:
        return ParsedText(body, frozenset({tests.entry}))
    rest = [node for node in body if node is not check and not _is_call_of_check(node)]
    if _has_scope_statements(check) or any(names_in(node) & {"check"} for node in rest):
        call = ast.parse(f"check({tests.entry})").body
        return ParsedText([node for node in body if not _is_call_of_check(node)] + call, frozenset({tests.entry}))
    return ParsedText(rest + check.body, frozenset({tests.entry, check.args.args[0].arg}))


def _is_check(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    """Return whether a statement is HumanEval's `def check(candidate):`."""
    return isinstance(node, ast.FunctionDef) and node.name == "check" and len(node.args.args) == 1


def _is_call_of_check(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and called_name(node.value) == "check"


def _has_scope_statements(function: ast.FunctionDef) -> bool:
    """Return whether a body cannot be taken out of its function."""
    kinds = (ast.Return, ast.Yield, ast.YieldFrom, ast.Global, ast.Nonlocal)
    return any(isinstance(node, kinds) for node in ast.walk(function))


def names_in(node: ast.AST) -> set[str]:
    """Return the names that a node uses or assigns."""
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


def _is_test(node: ast.stmt, aliases: frozenset[str]) -> bool:
    """Return whether a statement tests: it asserts, or calls the function for its effect."""
    if isinstance(node, ast.Assert):
        return not is_always_true(node)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)):
        return False
    if any(isinstance(inner, ast.Assert) for inner in ast.walk(node)):
        return True
    calling = (ast.Expr, ast.With, ast.Try, ast.For, ast.While, ast.If)
    return isinstance(node, calling) and bool(names_in(node) & (aliases | {"check"}))


def is_always_true(node: ast.Assert) -> bool:
    """Return whether an assert holds whatever the program does, as HumanEval's `assert True, "..."`."""
    return isinstance(node.test, ast.Constant) and bool(node.test.value)


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
    """Yield the names that a node other than a name defines."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).split(".")[0]
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name


def called_name(call: ast.Call) -> str:
    """Return the name that a call calls, or its text where it is more than a name."""
    return call.func.id if isinstance(call.func, ast.Name) else ast.unparse(call.func)
