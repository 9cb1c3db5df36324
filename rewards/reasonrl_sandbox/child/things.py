"""Things of the tests that the program is given: what it is told of them, and what it may do with them.

It may call functions, and use objects of classes that the tests define, mocks and streams, by names that do not begin
with an underscore. Frames, globals, modules and test cases are out of its reach: they hold what the tests expect.
"""

import builtins
import functools
import inspect
import io
import operator
import sys
import types
import unittest
from typing import Any

from reasonrl_sandbox.child.describe import describe_signature, global_name, mro, own_names
from reasonrl_sandbox.child.records import kinds

# Any: in this module, things of any type.

_FUNCTIONS = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    functools.partial,
    operator.itemgetter,
    operator.attrgetter,
    operator.methodcaller,
)

_VALUES = ("len", "hash", "bool", "str", "repr", "int", "float", "index", "abs", "neg", "format", "getitem", "contains")
_STEPS = ("call", "iter", "next", "enter", "exit", "aenter", "aexit", "await", "aiter", "anext", "setitem", "delitem")
_COMPARING = ("eq", "ne", "lt", "le", "gt", "ge", "reversed")
_COMPUTING = ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv", "mod", "pow")
SPECIAL = frozenset(f"__{name}__" for name in (*_VALUES, *_STEPS, *_COMPARING, *_COMPUTING))
"""Special methods that a program may have called."""

_STREAMS = (io.StringIO, io.BytesIO)


# Any: a description is a dict of plain values.
def describe_thing(thing: Any) -> dict[str, Any] | None:
    """Return what the program is told of a thing, or None where it gets no reference to it."""
    if isinstance(thing, _FUNCTIONS):
        return _function(thing)
    if isinstance(thing, BaseException) or (isinstance(thing, type) and issubclass(thing, BaseException)):
        kind = thing if isinstance(thing, type) else type(thing)
        return {"kind": "exception", "names": kinds(kind)} | ({} if kind is thing else {"args": thing.args})
    if isinstance(thing, type):
        return {"kind": "class", "name": thing.__name__} if _is_open(thing) else None
    if isinstance(thing, (types.ModuleType, types.FrameType, types.CodeType, types.TracebackType)):
        return None
    defined = {name for each in mro(type(thing)) if each is not object for name in own_names(each)}
    return {"kind": "object", "name": type(thing).__name__, "special": sorted(defined & SPECIAL)}


def _function(thing: Any) -> dict[str, Any]:
    code = getattr(inspect.unwrap(getattr(thing, "__func__", thing)), "__code__", None)
    flags = code.co_flags if code else 0
    runs = (
        "async generator" if flags & inspect.CO_ASYNC_GENERATOR
        else "async" if flags & inspect.CO_COROUTINE or inspect.iscoroutinefunction(thing)
        else "generator" if flags & inspect.CO_GENERATOR
        else "plain"
    )  # fmt: skip
    doc = getattr(thing, "__doc__", None)
    return {
        "kind": "function",
        "name": getattr(thing, "__name__", type(thing).__name__),
        "qualname": getattr(thing, "__qualname__", type(thing).__name__),
        "module": str(getattr(thing, "__module__", None)),
        "doc": doc if isinstance(doc, str) else None,
        "runs": runs,
        "params": describe_signature(thing),
        "set": {
            name: value for name, value in getattr(thing, "__dict__", {}).items() if type(value) in (int, str, bool)
        },
    }


def global_of(thing: Any) -> list[str] | None:
    """Return module and name of what the standard library defines, which the program then has itself."""
    if not isinstance(thing, (type, *_FUNCTIONS)) or getattr(thing, "__self__", None) not in (None, builtins):
        owner = getattr(thing, "__self__", None)
        if not isinstance(owner, types.ModuleType):
            return None
    return global_name(thing)


def use(thing: Any, name: str) -> Any:
    """Return an attribute of a thing; raises AttributeError where the program may not have it."""
    if name.startswith("_") and name not in ("__name__", "__doc__"):
        raise AttributeError(name)
    kind = thing if isinstance(thing, type) else type(thing)
    if not _is_open(kind) or _belongs_to_mocks(thing, name):
        raise AttributeError(name)
    return getattr(thing, name)


def assign(thing: Any, name: str, value: Any) -> None:
    """Set an attribute of a thing; raises AttributeError where the program may not: what tests check by is theirs."""
    is_method = callable(getattr(type(thing), name, None))
    if name.startswith("_") or not _is_open(type(thing)) or is_method or _belongs_to_mocks(thing, name):
        raise AttributeError(name)
    setattr(thing, name, value)


def _belongs_to_mocks(thing: Any, name: str) -> bool:
    """Return whether a mock has an attribute for the tests, as `assert_called_with` and `call_count`."""
    if not type(thing).__module__.startswith("unittest.mock"):
        return False
    return name.startswith("assert") or name in _OF_MOCKS


_OF_MOCKS = frozenset(
    {
        *("called", "call_count", "call_args", "call_args_list", "mock_calls", "method_calls", "reset_mock"),
        *("await_count", "await_args", "await_args_list", "configure_mock", "attach_mock", "mock_add_spec"),
        *("return_value", "side_effect"),
    }
)
"""Attributes by which a test sets up a mock and looks at it."""


def _is_open(kind: type) -> bool:
    """Return whether a program may use attributes of instances of a class, and of itself."""
    if issubclass(kind, unittest.TestCase) or issubclass(kind, BaseException):
        return False
    module = kind.__module__
    return module in ("tests", "__main__", "unittest.mock") or issubclass(kind, _STREAMS)


def special(thing: Any, name: str, args: tuple[Any, ...]) -> Any:
    """Call a special method of a thing."""
    if name not in SPECIAL:
        raise AttributeError(name)
    if name in ("__await__", "__aenter__", "__aexit__", "__anext__"):
        return run_to_end(_awaitable(thing, name, args))
    if name == "__next__":
        return next(thing)
    return getattr(type(thing), name)(thing, *args)


def _awaitable(thing: Any, name: str, args: tuple[Any, ...]) -> Any:
    return thing if name == "__await__" else getattr(type(thing), name)(thing, *args)


def call(thing: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a thing; a coroutine is run to its end."""
    result = thing(*args, **kwargs)
    is_awaited = isinstance(thing, _FUNCTIONS) and inspect.iscoroutinefunction(thing)
    return run_to_end(result) if is_awaited else result


def run_to_end(awaitable: Any) -> Any:
    """Run an awaitable to its end, also where an event loop waits for the program meanwhile."""
    import asyncio  # few tests need it, and the fork server would hold it for all

    async def run() -> Any:
        return await awaitable

    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()
        asyncio._set_running_loop(running)


def read_input(prompt: object = "") -> str:
    """Read a line as the program's `input` does, with what the tests have put in its place."""
    return builtins.input(prompt)


def read_stdin(size: int | None = -1) -> str:
    """Read from what the tests have put in place of standard input."""
    return str(sys.stdin.read(-1 if size is None else size))


def read_line() -> str:
    """Read a line from what the tests have put in place of standard input."""
    return str(sys.stdin.readline())
