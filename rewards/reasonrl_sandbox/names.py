"""Resolves the names of test text before a program can: which belong to the tests, and which are left to the program.

A program could define any name that its tests use and do not define: a helper that finds everything equal, or the
expected values. A name belongs to the tests if they define or import it anywhere, if it is built in, or if
`import *` from a module of the standard library brings it. What is left is the program's only if the text uses it as a
function or a class is used: calls it, catches it, derives from it, hands it to `map`. A name that is only read as a
value is never the program's.
"""

import ast
import builtins
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from symtable import Symbol, SymbolTable, symtable
from typing import Final

from reasonrl.errors import DataError

_KNOWN: Final = ("math", "itertools", "functools", "collections", "heapq", "bisect", "datetime", "copy", "typing")
"""Modules whose functions asserts use without importing them, as after the `from math import *` of a data set."""

_ANNOTATIONS: Final = {"Any", "Callable", "Dict", "Iterable", "List", "Optional", "Set", "Tuple", "Union"}
"""Classes that they use so. Others, such as `Counter`, may as well be classes of the program."""

_SURPRISING: Final = {"this", "antigravity"}
"""Modules that do something when they are imported."""

_TAKE_CALLABLES: Final = {
    *("map", "filter", "reduce", "partial", "callable", "isinstance", "issubclass", "raises"),
    *("assertRaises", "assertRaisesRegex", "assertIsInstance", "assertNotIsInstance", "assertWarns"),
}
"""Functions whose arguments may be functions or classes under test."""


@dataclass(frozen=True, slots=True)
class GlobalNames:
    """The global names of test text."""

    used: frozenset[str]
    """Names that it reads, but for built-in ones."""
    bound: frozenset[str]
    """Names that it defines or imports somewhere, `import *` left out."""

    @property
    def free(self) -> frozenset[str]:
        """Names that something else has to define."""
        return self.used - self.bound


def global_names(source: str, where: str) -> GlobalNames:
    """Return the global names of Python text.

    Raises:
        DataError: It is no Python; `where` begins the message.
    """
    try:
        symbols = list(_global_symbols(symtable(source, "tests", "exec")))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{where} is not Python: {error}.") from None
    built_in = {name for name in dir(builtins) if not name.startswith("__")}
    used = {symbol.get_name() for symbol in symbols if symbol.is_referenced()} - built_in
    bound = {symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()}
    return GlobalNames(frozenset(name for name in used if not _is_dunder(name)), frozenset(bound))


def _global_symbols(table: SymbolTable) -> Iterator[Symbol]:
    """Yield the symbols of all scopes that mean global names."""
    is_module = table.get_type() == "module"
    yield from (symbol for symbol in table.get_symbols() if is_module or symbol.is_global())
    for scope in table.get_children():
        yield from _global_symbols(scope)


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def star_imported(tree: ast.AST) -> list[str]:
    """Return the modules that text star-imports."""
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return [node.module or "." for node in imports if any(alias.name == "*" for alias in node.names)]


def exported(module: str) -> frozenset[str] | None:
    """Return what `import *` brings from a module of the standard library; None for other modules."""
    if module.partition(".")[0] not in sys.stdlib_module_names - _SURPRISING:
        return None
    try:
        found = import_module(module)
    except ImportError:
        return None
    return frozenset(getattr(found, "__all__", [name for name in vars(found) if not name.startswith("_")]))


def known_module(name: str) -> str | None:
    """Return the module of the standard library that has a name which asserts use without importing it."""
    if name[:1].isupper() and name not in _ANNOTATIONS:
        return None
    return next((module for module in _KNOWN if name in (exported(module) or ())), None)


def check_provided(names: Iterable[str], tree: ast.AST, *, functions: bool, remedy: str) -> None:
    """Refuse names that a program must not provide.

    Args:
        names: What nothing but the program defines.
        tree: The text.
        functions: Whether the program may provide functions beside classes.
        remedy: What to do instead.

    Raises:
        DataError: One of them is a function where none may be, or is only read as a value.
    """
    asked = set(_asked(tree))
    for name in sorted(names):
        is_class = name[:1].isupper() and (name in asked or not name.isupper())
        is_function = functions and name in asked and not name.startswith("assert")
        if not (is_class or is_function):
            why = "which only the program defines: it could choose what makes them pass"
            raise DataError(f"the tests use {name!r}, {why}. {remedy}")


def check_truths(classes: Iterable[str], tree: ast.AST, remedy: str) -> None:
    """Refuse asserts whose truth is what a class of the program says, such as `assert Close(f(2), 1.4)`.

    Args:
        classes: Classes that only the program defines, but for the one under test.
        tree: The text.
        remedy: What to do instead.

    Raises:
        DataError: There is one.
    """
    of_program = set(classes)
    asserted = (part for node in ast.walk(tree) if isinstance(node, ast.Assert) for part in _truths(node.test))
    for call in asserted:
        if isinstance(call, ast.Call) and _root(call) in of_program and _judges(call):
            raise DataError(f"the tests leave it to {_root(call)!r} of the program whether they pass. {remedy}")


def _truths(test: ast.expr) -> list[ast.expr]:
    """Return the parts of a condition that are true or false by themselves."""
    if isinstance(test, ast.BoolOp):
        return [part for value in test.values for part in _truths(value)]
    return _truths(test.operand) if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) else [test]


def _judges(call: ast.Call) -> bool:
    """Return whether a call is given what another call returned, or makes an object that is asked for its truth."""
    given = [*call.args, *(word.value for word in call.keywords)]
    is_class_itself = isinstance(call.func, ast.Name)
    return is_class_itself or any(isinstance(node, ast.Call) for arg in given for node in ast.walk(arg))


def check_tests_are_own(names: Iterable[str], tree: ast.AST) -> None:
    """Refuse a file whose tests the program could replace: it decorates one, or gives a class of tests its base.

    Args:
        names: What the file has from the program.
        tree: The file.

    Raises:
        DataError: One of the names stands in such a place.
    """
    of_program = set(names)
    for place in (place for node in ast.walk(tree) for place in _around_tests(node)):
        name = _root(place)
        if name in of_program:
            why = f"line {place.lineno} lets {name!r} of the program decide which tests run and fail"
            raise DataError(f"file tests: {why}: use it on functions and classes that are no tests.")


def _around_tests(node: ast.AST) -> list[ast.expr]:
    """Return the expressions that make a test what it is: decorators, bases, what is assigned to its name."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("test"):
            return node.decorator_list
        case ast.ClassDef() if node.name.startswith("Test") or any(map(_is_test, node.body)):
            return [*node.decorator_list, *node.bases]
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=function)) if name.lower().startswith("test"):
            return [function]
    return []


def _root(node: ast.expr) -> str | None:
    """Return the name that calls and attributes begin with: `timed` of `timed`, `timed(3)` and `timed.hard(3)`."""
    while isinstance(node, (ast.Call, ast.Attribute)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_test(node: ast.stmt) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test")


def imported_from(module: str, tree: ast.AST) -> Iterator[str]:
    """Yield the names that text imports from a module, or imports it by."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == module:
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.asname or module for alias in node.names if alias.name == module)


def _asked(tree: ast.AST) -> Iterator[str]:
    """Yield the names that text uses as a function or class is used."""
    for node in ast.walk(tree):
        for inner in _in_place_of_callable(node):
            yield from (name.id for name in _items(inner) if isinstance(name, ast.Name))


def _in_place_of_callable(node: ast.AST) -> Iterable[ast.expr | None]:
    """Return the expressions in a node that must be functions or classes."""
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _TAKE_CALLABLES:
            return [node.func, *node.args]
        case ast.Call(func=function):
            return [function]
        case ast.ExceptHandler(type=kind):
            return [kind]
        case ast.ClassDef(bases=bases, decorator_list=decorators):
            return [*bases, *decorators]
        case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
            return decorators
        case ast.MatchClass(cls=kind):
            return [kind]
    return ()


def _items(node: ast.expr | None) -> list[ast.expr]:
    """Return the items of a tuple, or a node itself."""
    if isinstance(node, ast.Tuple):
        return node.elts
    return [] if node is None else [node]
