"""What to say of a reward that raised: one line of bounded length, with the place in the reward's own file."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from inspect import getsourcefile, unwrap
from traceback import walk_tb
from types import FrameType
from typing import Any, Final

MAX_MESSAGE: Final = 500
"""Characters of an error's message that are kept."""

NOT_IMPORTED: Final = "the rewards cannot be imported"
"""How an error begins that concerns all of a pool's rewards."""


def explain(error: BaseException, function: Callable[..., Any] | None = None) -> str:
    """Say what was raised, and where: ``ValueError: no digits (my_reward.py:12)``.

    Args:
        error: what was raised, with its traceback.
        function: the reward, whose own file is preferred to the libraries that it calls. Any: anybody's code.
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
    own = [line for line in lines if line[0] == _file(function)]
    beyond = [line for line in lines if os.path.dirname(line[0]) != os.path.dirname(__file__)]
    return "".join(f"{os.path.basename(file)}:{line}" for file, line in (own or beyond)[-1:])


def _file(function: Callable[..., Any] | None) -> str | None:
    """Return the file that a function was written in, under bound parameters and wrappers."""
    while isinstance(function, partial):
        function = function.func
    try:
        return None if function is None else getsourcefile(unwrap(function))
    except TypeError:  # an object that is called, or a function written in C
        return getsourcefile(type(function)) if type(function).__module__ != "builtins" else None
