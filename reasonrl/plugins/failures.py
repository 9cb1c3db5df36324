"""What to say of somebody else's code that raised: one line of bounded length, with the place in its own file."""

import importlib
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from inspect import getsourcefile
from traceback import walk_tb
from types import FrameType
from typing import Any, Final

MAX_MESSAGE: Final = 500
"""Characters of an error's message that are kept."""

_PACKAGE: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep
"""The folder of reasonrl itself, whose frames say nothing about a plugin."""
_IMPORTLIB: Final = os.path.dirname(importlib.__file__ or "") + os.sep
"""The folder of what imports plugins."""


def explain(error: BaseException, function: Callable[..., Any] | None = None) -> str:
    """Say what was raised, and where: ``ValueError: no digits (my_reward.py:12)``.

    Args:
        error: what was raised, with its traceback.
        function: the plugin's function, whose own file is preferred to the libraries that it calls. Any: anybody's
            code.
    """
    where = place(walk_tb(error.__traceback__), function)
    return f"{message(error)} ({where})" if where else message(error)


def message(error: BaseException) -> str:
    """Say what was raised, in one line."""
    try:
        text = " ".join(str(error).split())[:MAX_MESSAGE]
    except BaseException as second:  # __str__ is anybody's code
        text = f"(its message raised {type(second).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def place(calls: Iterable[tuple[FrameType, int]], function: Callable[..., Any] | None) -> str:
    """Return the innermost line of a function's own file, or else the innermost one outside this package.

    Args:
        calls: frames with the line that each is at, outermost first.
        function: whose file it is. Any: anybody's code.
    """
    lines = [(frame.f_code.co_filename, line) for frame, line in calls]
    own = [line for line in lines if function is not None and line[0] == _file(function)]
    beyond = [line for line in lines if not line[0].startswith((_PACKAGE, _IMPORTLIB, "<frozen importlib"))]
    return "".join(f"{os.path.basename(file)}:{line}" for file, line in (own or beyond)[-1:])


def describe(function: Callable[..., Any]) -> str:
    """Return a function's name with the place of its definition: ``'solved' (my_suite.py:12)``. Any: anybody's code."""
    inner, file = innermost(function), _file(function)
    name = getattr(inner, "__name__", type(inner).__name__)
    line = getattr(getattr(inner, "__code__", None), "co_firstlineno", None)
    where = "" if file is None else os.path.basename(file) if line is None else f"{os.path.basename(file)}:{line}"
    return f"{name!r} ({where})" if where else repr(name)


def innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function under bound parameters and wrappers. Any: anybody's code."""
    while True:
        wrapped = function.func if isinstance(function, partial) else getattr(function, "__wrapped__", None)
        if wrapped is None:
            return function
        function = wrapped


def _file(function: Callable[..., Any]) -> str | None:
    inner = innermost(function)
    for written in (inner, type(inner)):  # the second for an object that is called
        with suppress(TypeError):  # in C
            return getsourcefile(written)
    return None
