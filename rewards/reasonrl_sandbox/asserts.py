"""Parses test text made of asserts into statements, without running it."""

import ast
import sys
import threading
from dataclasses import dataclass
from typing import TypeGuard

from reasonrl.errors import DataError
from reasonrl_sandbox.forms import AssertTests, FileTests
from reasonrl_sandbox.names import (
    check_provided,
    check_tests_are_own,
    check_truths,
    exported,
    global_names,
    imported_from,
    known_module,
    star_imported,
)


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
    """Classes that nothing here defines: the program has to. With `allow_forgeable` also other names."""

    @property
    def num_tests(self) -> int:
        """How many of the statements are tests."""
        return sum(statement.is_test for statement in self.statements)


def read_script(tests: AssertTests) -> Script:
    """Split test text into statements, and resolve its names.

    Raises:
        DataError: The text is not Python, nothing in it tests the function, or the program would have to provide a
            name that must not be its own: see `names.py`.
    """
    text = read_text(tests)
    statements = tuple(Statement(_written(node), _is_test(node, text.aliases)) for node in text.body)
    everything = "\n".join([tests.setup, *(statement.source for statement in statements)])
    tree = parse_python(everything, "asserts: setup and source")
    free = _free_names(everything, tree) - {tests.entry, *text.aliases}
    modules = tuple(sorted(free & sys.stdlib_module_names))
    imports = {name: module for name in sorted(free.difference(modules)) if (module := known_module(name))}
    names = tuple(sorted(free.difference(modules, imports)))
    if not tests.allow_forgeable:
        remedy = "Give the tests their own in 'setup', or set allow_forgeable."
        check_provided(names, tree, functions=False, remedy=remedy)
        check_truths(names, tree, remedy)
    added = (Statement(f"from {module} import {name}", is_test=False) for name, module in imports.items())
    script = Script((*added, *statements), tuple(sorted(text.aliases)), modules, names)
    if not script.num_tests:
        raise DataError(f"asserts: no assert in the source tests {tests.entry!r}.")
    return script


def _free_names(source: str, tree: ast.Module) -> frozenset[str]:
    """Return the names that text does not define, or none where it star-imports names that cannot be known here."""
    starred = [exported(module) for module in star_imported(tree)]
    if None in starred:
        return frozenset()
    return global_names(source, "asserts: setup and source").free.difference(*filter(None, starred))


def open_names(tests: FileTests) -> list[str]:
    """Return what `from solution import *` may import into a file of tests: names that nothing else defines.

    Raises:
        DataError: The file is not Python, or the program would have to provide a name that must not be its own: see
            `names.py`.
    """
    tree = parse_python(tests.source, "file tests: source")
    starred = star_imported(tree)
    others = {module: exported(module) for module in starred if module != tests.module}
    free = global_names(tests.source, "file tests: source").free.difference(*filter(None, others.values()))
    names = free if tests.module in starred else frozenset[str]()
    if not tests.allow_forgeable:
        check_tests_are_own({*names, *imported_from(tests.module, tree)}, tree)
        _check_star_imports(tests, tree, names, others)
    return sorted(names)


def _check_star_imports(
    tests: FileTests, tree: ast.Module, names: frozenset[str], others: dict[str, frozenset[str] | None]
) -> None:
    """Refuse star imports that leave open what is the program's, and names that it must not provide."""
    if tests.module not in star_imported(tree):
        return
    remedy = f"Import it by name (from {tests.module} import ...) if it is under test, or define it in the tests"
    unknown = next((module for module, known in others.items() if known is None), None)
    if unknown is not None or (others and not names):
        blame = unknown or next(iter(others), tests.module)
        raise DataError(
            f"file tests: what is imported by 'from {blame} import *' cannot be told from what the program defines. "
            f"Import from {tests.module} by name."
        )
    check_provided(names, tree, functions=True, remedy=f"{remedy}, or set allow_forgeable.")


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


_one_parse_at_a_time = threading.Lock()
"""Python 3.11 and 3.12 count the depth of a tree for all threads together: two that parse at once raise SystemError."""


def parse_python(source: str, where: str) -> ast.Module:
    """Parse Python.

    Raises:
        DataError: It is none; `where` begins the message.
    """
    try:
        with _one_parse_at_a_time:
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
        call = parse_python(f"check({tests.entry})", "asserts: entry").body
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


def called_name(call: ast.Call) -> str:
    """Return the name that a call calls, or its text where it is more than a name."""
    return call.func.id if isinstance(call.func, ast.Name) else ast.unparse(call.func)
