"""What the modes share: the descriptors of a child, and how it runs a program as a module."""

import builtins
import linecache
import sys
from types import ModuleType
from typing import TypedDict

BODY = 3
"""Descriptor that the body is read from; closed before the program begins."""

ANSWERS = 4
"""Descriptor that a child writes its answers to. Closed in mode `stdio` and on the program's side of `split`."""

CHANNEL = 5
"""Descriptor of a stream socket between the two processes of mode `split`; each of them has one end."""

NAME = "solution.py"
"""What tracebacks call the program."""


class Body(TypedDict):
    """A child's task; the fork server passes it on unread."""

    mode: str
    """`stdio` and `values`; in mode `split` one child gets `candidate`, the other `driver`."""
    source: str
    """The program; for `driver` the source of the tests."""
    entry: str | None
    """The function to call."""
    calls: str
    """Mode `values`: what the codec wrote."""


class CompileError(Exception):
    """The program is not Python: the child ends as `compile_error`."""


class NoEntryError(Exception):
    """The program defines no such function: the child ends as `no_entry`."""


def run_as(name: str, source: str) -> ModuleType:
    """Compile and run a program as a module. What it raises is not caught."""
    try:
        code = compile(source, NAME, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, OverflowError, MemoryError) as error:
        raise CompileError(f"{type(error).__name__}: {error}") from None
    module = ModuleType(name)
    module.__dict__.update(__file__=NAME, __builtins__=builtins)
    sys.modules[name] = module
    # Tracebacks show lines of the source, which is in no file.
    linecache.cache[NAME] = (len(source), None, source.splitlines(keepends=True), NAME)
    exec(code, module.__dict__)
    return module
