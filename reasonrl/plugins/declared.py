"""Read a function's parameters from its source, without importing what its module needs.

A loss or an advantage estimator imports torch, which takes longer than reading a run file; a mistake in its parameters
should not wait for that. What the source does not say plainly is left to the check after the import.
"""

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

LIGHT_MODULES: Final = ("typing", "pydantic", "collections.abc", "annotated_types")
"""Modules whose names an annotation may use to be understood."""
_BUILTINS: Final = {one.__name__: one for one in (bool, int, float, str, list, dict, tuple, set)}


def declared_function(reference: str) -> Callable[..., Any] | None:
    """Return a function with the signature and the decorators' names of one that is referred to.

    Each bare decorator ``@mark`` is an attribute ``mark`` that is true. The function must not be called.

    Args:
        reference: ``./file.py:name`` or ``package.module:name``.

    Returns:
        None where the module is imported already, is not found, or does not define the function with ``def``.
    """
    place, _, name = reference.rpartition(":")
    if place in sys.modules or (tree := _parsed(place)) is None:
        return None
    found = [
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    ]
    return _stand_in(found[-1], _Names(tree)) if found else None


def _parsed(place: str) -> ast.Module | None:
    """Return the syntax tree of a file or a module; None where there is none to be read."""
    with suppress(OSError, ValueError, SyntaxError, ImportError, AttributeError):
        path = Path(place) if place.endswith(".py") else _origin(place)
        return None if path is None else ast.parse(path.read_bytes())
    return None


def _origin(module: str) -> Path | None:
    """Return the source of a module; only the packages around it are imported."""
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


class _Names(dict[str, Any]):
    """The values of names that annotations and defaults use: light imports and assignments. Any: anything."""

    def __init__(self, tree: ast.Module) -> None:
        super().__init__(_BUILTINS)
        self._assigned: dict[str, ast.expr] = {}
        for node in tree.body:
            match node:
                case ast.ImportFrom(module=str(module), names=names, level=0) if module in LIGHT_MODULES:
                    found = importlib.import_module(module)
                    self.update({one.asname or one.name: getattr(found, one.name, None) for one in names})
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self._assigned[name] = value
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self._assigned[name] = value

    def __missing__(self, name: str) -> Any:
        self[name] = self.value(self._assigned[name])
        return self[name]

    def value(self, node: ast.expr) -> Any:
        """Return what an expression of the module is worth.

        Raises:
            Exception: it needs more than is known here.
        """
        return eval(compile(ast.Expression(node), "<plugin>", "eval"), {"__builtins__": {}}, self)  # its own source


def _stand_in(node: ast.FunctionDef | ast.AsyncFunctionDef, names: _Names) -> Callable[..., Any]:
    """Return a function that has the signature of a definition. Any: the types it names."""

    def stand_in(**given: Any) -> Any:
        raise AssertionError("is only there to be looked at")

    parameters = list(_parameters(node, names))
    stand_in.__name__ = node.name
    stand_in.__annotations__ = {each.name: each.annotation for each in parameters}
    stand_in.__dict__["__signature__"] = inspect.Signature(parameters)
    stand_in.__dict__.update({mark.id: True for mark in node.decorator_list if isinstance(mark, ast.Name)})
    return stand_in


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, names: _Names) -> Iterator[inspect.Parameter]:
    """Yield the parameters of a definition; types that are not known here are Any."""
    positional, kinds = [*node.args.posonlyargs, *node.args.args], inspect.Parameter
    missing = [None] * (len(positional) - len(node.args.defaults))
    named = [
        *(
            (one, value, kinds.POSITIONAL_OR_KEYWORD)
            for one, value in zip(positional, [*missing, *node.args.defaults], strict=True)
        ),
        *(
            (one, value, kinds.KEYWORD_ONLY)
            for one, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        ),
    ]
    for argument, default, kind in named:
        annotation = Any if argument.annotation is None else _known(argument.annotation, names, Any)
        empty = inspect.Parameter.empty
        value = empty if default is None else _known(default, names, None)
        yield inspect.Parameter(argument.arg, kind, default=value, annotation=annotation)
    if node.args.kwarg is not None:
        yield inspect.Parameter(node.args.kwarg.arg, inspect.Parameter.VAR_KEYWORD)


def _known(node: ast.expr, names: _Names, otherwise: Any) -> Any:
    """Return an expression's value, or another one where it needs more than is known. Any: anything."""
    try:
        return names.value(node)
    except Exception:  # anybody's expression, of names that are not imported here
        return otherwise
