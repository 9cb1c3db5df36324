"""Find functions that a metric shares with a reward: an error in one of them shows in neither figure.

Functions are followed by the names in their code, so one that only bears the name of an attribute may be
named too. Left out: methods called on values, tables of functions, shared data such as a regular
expression, and imports inside a function that have not run yet.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from inspect import getattr_static
from itertools import islice
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final, TypeAlias

Callee: TypeAlias = FunctionType | type[Any]
"""Something with code of its own. Any: a class of whatever kind."""

SHARED_TYPES: Final = ("reasonrl.types", "reasonrl.errors")
"""Modules that every metric and reward uses."""

SANDBOX: Final = "reasonrl_sandbox"
"""Package that runs programs, for metrics and rewards alike."""

OWN: Final = ("reasonrl", "reasonrl_grading", SANDBOX)
"""Packages of this project that metrics and rewards are built on: installed, they would look like libraries."""


def shared_functions(metric: Callable[..., object], reward: Callable[..., object]) -> list[str]:
    """Name the functions and classes that both use, those of libraries left out.

    A library is the standard library and whatever is installed, except for reasonrl, its libraries and
    the packages that the metric and the reward come from.
    """
    own = {*OWN, *_package(metric), *_package(reward)}
    return sorted({_in_short(name) for name in _reachable(metric, own) & _reachable(reward, own)})


def _in_short(name: str) -> str:
    # A program that escapes one part of the sandbox deceives every user of it: the part does not matter.
    return SANDBOX if name.startswith(f"{SANDBOX}.") else name


def _package(function: Callable[..., object]) -> set[str]:
    """Return the name of the package that a callable comes from, where it has one."""
    return {_root(callee) for callee in islice(_callees(function), 1)}


def _root(callee: Callee) -> str:
    return str(callee.__module__).partition(".")[0]


def _reachable(start: Callable[..., object], own: set[str]) -> set[str]:
    """Name everything in the packages ``own`` that a callable uses, itself included."""
    seen: set[Callee] = set()
    waiting = list(_callees(start))
    while waiting:
        callee = waiting.pop()
        if callee not in seen and _is_own(callee, own):
            seen.add(callee)
            waiting += _uses(callee)
    return {f"{callee.__module__}.{callee.__qualname__}" for callee in seen}


def _is_own(callee: Callee, own: set[str]) -> bool:
    root = _root(callee)
    if callee.__module__ in SHARED_TYPES or root in sys.stdlib_module_names:
        return False
    return root in own or not _is_installed(callee)


def _is_installed(callee: Callee) -> bool:
    """Whether the code lies where packages are installed; compiled code does."""
    module = sys.modules.get(callee.__module__)
    file = callee.__code__.co_filename if isinstance(callee, FunctionType) else getattr(module, "__file__", None)
    return file is None or not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def _callees(value: object) -> Iterator[Callee]:
    """Find what runs when a value is called; nothing for a value that is only data."""
    if isinstance(value, partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            yield from _callees(part)
    elif isinstance(value, MethodType):
        yield from _callees(value.__func__)
        yield value.__self__ if isinstance(value.__self__, type) else type(value.__self__)
    elif isinstance(value, FunctionType | type):
        yield value
    elif isinstance(getattr_static(type(value), "__call__", None), FunctionType):
        yield type(value)
    elif isinstance(wrapped := getattr_static(value, "__wrapped__", None), FunctionType):  # functools.cache
        yield wrapped


def _uses(callee: Callee) -> Iterator[Callee]:
    for function in [callee] if isinstance(callee, FunctionType) else _methods(callee):
        for value in (*_named(function), *_enclosed(function)):
            yield from _callees(value)


def _methods(of: type[Any]) -> Iterator[FunctionType]:
    """List the functions that a class and its bases define. Any: as above."""
    for value in (value for base in of.__mro__ for value in vars(base).values()):
        function = value.fget if isinstance(value, property) else getattr_static(value, "__func__", value)
        if isinstance(function, FunctionType):
            yield function


def _named(function: FunctionType) -> Iterator[object]:
    """Look up the names in a function's code: globals, and attributes of the modules among them."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    values = [function.__globals__.get(name, sys.modules.get(name)) for name in names]
    modules = [value for value in values if isinstance(value, ModuleType)]
    for module in modules:  # grows while it is read: packages hold modules
        found = [vars(module)[name] for name in names & vars(module).keys()]
        modules += [value for value in found if isinstance(value, ModuleType) and value not in modules]
        values += found
    return iter(values)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _enclosed(function: FunctionType) -> Iterator[object]:
    """List what a function brings along: its closure and its defaults."""
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that is not bound yet
            continue
