"""The program's side of mode `split`: what stands for things of the tests, such as functions that a test passes.

A stub has the name, the parameters and the kind (plain, async, generator) of what it stands for, and asks the driver to
call it. The driver decides what the program may ask of a thing.
"""

import builtins
import inspect
import io
from typing import Any, Protocol

Params = list[list[Any]]


class Driver(Protocol):
    """The other process. Any: plain values, objects and things of the tests travel both ways."""

    def ask(self, do: str, *values: Any) -> Any:
        """Have the driver do something with a thing of the tests; raises what that raises."""
        ...


# Any: a description is JSON that the driver wrote; a stub stands for a thing of any type.
def make_stub(driver: Driver, number: int, about: dict[str, Any]) -> Any:
    """Return the stand-in for the thing of a number."""
    stub = _made(driver, number, about)
    _NUMBERS[id(stub)] = (number, stub)
    return stub


def _made(driver: Driver, number: int, about: dict[str, Any]) -> Any:
    if about["kind"] == "function":
        return _function(driver, number, about)
    if about["kind"] == "exception":
        return _exception(about)
    if about["kind"] == "class":
        return _class(driver, number, about)
    kind = type(about["name"], (TestThing,), {name: _special(name) for name in about["special"]})
    thing: Any = object.__new__(kind)
    object.__setattr__(thing, "_test_thing", (driver, number))
    return thing


_NUMBERS: dict[int, tuple[int, Any]] = {}
"""Numbers of stubs by identity: `functools.wraps` copies attributes to what is no stub."""


def number_of(thing: Any) -> int | None:
    """Return the number of what a stub stands for, or None for anything else."""
    found = _NUMBERS.get(id(thing))
    return found[0] if found and found[1] is thing else None


class TestThing:
    """An object of the tests."""

    def __getattr__(self, name: str) -> Any:
        """Ask the driver for an attribute."""
        driver, number = object.__getattribute__(self, "_test_thing")
        return driver.ask("get", number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Have the driver set an attribute."""
        driver, number = object.__getattribute__(self, "_test_thing")
        driver.ask("set", number, name, value)


def _special(name: str) -> Any:
    """Return a special method that asks the driver."""
    if name == "__hash__":
        return lambda self: object.__getattribute__(self, "_test_thing")[1]
    if name in ("__await__", "__aenter__", "__aexit__", "__anext__"):
        return _awaiting(name)

    def method(self: TestThing, *args: Any, **kwargs: Any) -> Any:
        driver, number = object.__getattribute__(self, "_test_thing")
        if name == "__call__":
            return driver.ask("call", number, args, kwargs)
        return driver.ask("special", number, name, args)

    method.__name__ = name
    return method


def _awaiting(name: str) -> Any:
    async def method(self: TestThing, *args: Any) -> Any:
        driver, number = object.__getattribute__(self, "_test_thing")
        return driver.ask("special", number, name, args)

    if name != "__await__":
        return method
    return lambda self: method(self).__await__()


def _class(driver: Driver, number: int, about: dict[str, Any]) -> type:
    """Return a class whose instances are made by the driver, and are things of the tests."""

    class Meta(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            return driver.ask("call", number, args, kwargs)

        def __getattr__(cls, name: str) -> Any:
            return driver.ask("get", number, name)

    return Meta(about["name"], (TestThing,), {})


def _exception(about: dict[str, Any]) -> Any:
    """Return an exception class of the tests, or an instance of one."""
    kind: Any = getattr(builtins, about["names"][-1], Exception)
    for name in reversed(about["names"][:-1]):
        kind = _EXCEPTIONS.setdefault(name, type(name.rpartition(".")[2], (kind,), {}))
    if "args" not in about:
        return kind
    return kind(*about["args"])


_EXCEPTIONS: dict[str, Any] = {}


def _function(driver: Driver, number: int, about: dict[str, Any]) -> Any:
    """Return a function with the parameters of one of the tests."""
    function = _compiled(driver, number, about)
    function.__name__, function.__qualname__ = about["name"], about["qualname"]
    function.__doc__, function.__module__ = about["doc"], about["module"]
    for name, value in about["set"].items():
        function.__dict__[name] = value
    return function


def _compiled(driver: Driver, number: int, about: dict[str, Any]) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return driver.ask("call", number, args, kwargs)

    listed, passed, defaults = _parameters(about["params"])
    begin, end = {
        "plain": ("def", "    return _call({0})"),
        "async": ("async def", "    return _call({0})"),
        "generator": ("def", "    yield from _call({0})"),
        "async generator": ("async def", "    async for _ in _call({0}):\n        yield _"),
    }[about["runs"]]
    source = f"{begin} _stub({listed}):\n{end.format(passed)}"
    scope: dict[str, Any] = {"_call": call, "_defaults": defaults}
    exec(compile(source, "<tests>", "exec"), scope)
    return scope["_stub"]


def _parameters(params: Params | None) -> tuple[str, str, list[Any]]:
    """Return how parameters are listed in a `def`, how they are passed on, and their defaults."""
    if params is None or not all(isinstance(name, str) and name.isidentifier() for name, *_ in params):
        return "*args, **kwargs", "*args, **kwargs", []
    listed, passed, defaults = list[str](), list[str](), list[Any]()
    kinds = inspect._ParameterKind
    for index, (name, kind, has_default, default, _) in enumerate(params):
        if kind == kinds.KEYWORD_ONLY and "*" not in "".join(listed):
            listed.append("*")
        stars = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}.get(kind, "")
        listed.append(f"{stars}{name}" + (f"=_defaults[{len(defaults)}]" if has_default else ""))
        passed.append(f"{name}={name}" if kind == kinds.KEYWORD_ONLY else f"{stars}{name}")
        if has_default:
            defaults.append(default)
        following = params[index + 1][1] if index + 1 < len(params) else None
        if kind == kinds.POSITIONAL_ONLY and following != kinds.POSITIONAL_ONLY:
            listed.append("/")
    return ", ".join(listed), ", ".join(passed), defaults


class TestInput(io.TextIOBase):
    """Standard input that the tests have replaced."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self.driver = driver

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int | None = -1) -> str:
        """Read from the tests' standard input."""
        return str(self.driver.ask("read", size))

    def readline(self, size: int | None = -1) -> str:  # type: ignore[override]  # as text streams have it
        """Read a line of the tests' standard input."""
        return str(self.driver.ask("readline"))
