"""Proxies that tests use in place of the program: functions, objects and a module whose calls go to its process.

A function returns plain values only. An object of one of the program's classes can be made by calling the class, be
passed to functions, and be used through methods, attributes, `len`, indexing and the like, which return plain values
as functions do. Comparisons and arithmetic of such an object are not forwarded: one that equals everything would pass
every test. Tests that need them are refused unless they set `allow_forgeable`.

A name is taken for a class if it begins with a capital letter (PEP 8), whatever the program defines under it: a
program that defines a class in place of a function cannot return objects by that.
"""

import builtins
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, BinaryIO

from reasonrl_sandbox.child.codec import MalformedError, NotPlainError, TooLargeError, encode
from reasonrl_sandbox.child.records import MAX_ANSWER, Record, read, write


class CandidateGoneError(BaseException):
    """The program's process ended, or broke the protocol. A test that catches it does not pass by that."""


class InvalidTestError(BaseException):
    """Fails a test even if the test catches or expects it: it was not raised by the program."""


class ForgeableError(InvalidTestError):
    """The tests would let an object of the program decide the outcome."""


class ProgramError(Exception):
    """Stands for an exception of the program that is neither built in nor known by name."""


class Connection:
    """The connection to the program's process."""

    def __init__(self, descriptor: int, replies: BinaryIO, allow_forgeable: bool) -> None:
        self.descriptor = descriptor
        self.replies = replies
        self.allow_forgeable = allow_forgeable
        self.num_asked = 0
        self.objects: dict[int, RemoteObject] = {}
        self.exceptions: dict[str, type[BaseException]] = {}
        self.raised: list[tuple[BaseException, Record]] = []
        self.gone = False
        self.invalid: InvalidTestError | None = None

    def wait(self) -> None:
        """Wait until the program is loaded."""
        if self.replies.readline(MAX_ANSWER) != b'"ready"\n':
            raise self.disconnected("the program ended while it was loaded")

    def disconnected(self, why: str) -> CandidateGoneError:
        """Note that the program's process is gone, and return what to raise."""
        self.gone = True
        return CandidateGoneError(why)

    def invalidate(self, error: InvalidTestError) -> InvalidTestError:
        """Note what fails the running test, and return it to be raised."""
        self.invalid = self.invalid or error
        return error

    def take_invalid(self) -> InvalidTestError | None:
        """Return what failed the test that ran, and forget it."""
        error, self.invalid = self.invalid, None
        return error

    # Any: plain values and objects are sent both ways.
    def ask(self, do: str, *values: Any, objects: bool = False) -> Any:
        """Have the other process do something, and return or raise the result."""
        self.num_asked += 1
        request = {"i": self.num_asked, "do": do, "with": self.text(values), "objects": objects}
        try:
            write(self.descriptor, json.dumps(request))
            record = read(self.replies.readline(2 * MAX_ANSWER), self.object if objects else None)
        except (MalformedError, OSError) as error:
            raise self.disconnected(f"the program's process is gone: {error}") from None
        if record.number != self.num_asked:
            raise self.disconnected("the program answered out of turn")
        if record.outcome is not None:
            raise self.exception(record)
        return record.value

    # Any: as above.
    def text(self, values: tuple[Any, ...]) -> str:
        """Encode what is sent to the program."""
        try:
            return encode(values, refer=_number)
        except (NotPlainError, TooLargeError) as error:
            raise self.invalidate(InvalidTestError(f"the test gives the program {error}")) from None

    def object(self, number: int) -> "RemoteObject":
        """Return the one proxy of an object."""
        return self.objects.setdefault(number, RemoteObject(self, number))

    def exception(self, record: Record) -> BaseException:
        """Return the exception to raise here for one that was raised there: of the same type where it is known."""
        error = self.raised_there(record) if record.raised else self.invalidate(InvalidTestError(record.detail))
        self.raised.append((error, record))
        return error

    def raised_there(self, record: Record) -> BaseException:
        """Return an exception of the type that the program raised, or of its nearest base that takes just a message."""
        kind = self.kind(record.raised) or ProgramError
        for each in kind.__mro__[:-1]:
            with suppress(TypeError):
                return each(record.detail.partition(": ")[2])  # type: ignore[no-any-return]  # exceptions, all of them
        return ProgramError(record.detail)

    def kind(self, names: Sequence[str]) -> type[BaseException] | None:
        """Return the type that stands for one of the program's, derived from those that stand for its bases."""
        *own, last = names
        kind = _builtin_exception(last)
        if kind is None:
            return None
        for name in reversed(own):
            kind = self.exceptions.setdefault(name, type(name.rpartition(".")[2], (kind,), {}))
        return kind

    def record_of(self, error: BaseException) -> Record | None:
        """Return the record of an exception that came from the program."""
        return next((record for raised, record in self.raised if raised is error), None)


def _builtin_exception(name: str | None) -> type[BaseException] | None:
    """Return a built-in exception that a program may raise in its tests.

    StopIteration is none: it would end a test's `all(map(...))` early, as if every item had been true.
    """
    kind = getattr(builtins, name or "", None)
    if not isinstance(kind, type) or not issubclass(kind, (Exception, SystemExit)):
        return None
    return None if issubclass(kind, (StopIteration, StopAsyncIteration)) else kind


def _number(thing: object) -> int | None:
    return _state_of(thing).number if isinstance(thing, RemoteObject) else None


class _State:
    """What a proxy knows; kept apart from its attributes, which are those of the object that it stands for."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.given: dict[str, RemoteObject] = {}


def _state_of(thing: "RemoteObject") -> _State:
    state: _State = object.__getattribute__(thing, "_state")
    return state


class RemoteObject:
    """Proxy of an object of the program."""

    __slots__ = ("_state",)

    def __init__(self, connection: Connection, number: int) -> None:
        object.__setattr__(self, "_state", _State(connection, number))

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the object, or the proxy that the tests assigned to it."""
        state = _state_of(self)
        if name in state.given:
            return state.given[name]
        kind, thing = _get_attribute(state.connection, state.number, name)
        if kind != "function":
            return thing
        objects = state.connection.allow_forgeable
        return lambda *args, **kwargs: state.connection.ask("method", state.number, name, args, kwargs, objects=objects)

    def __setattr__(self, name: str, thing: Any) -> None:
        """Set an attribute of the object."""
        state = _state_of(self)
        state.connection.ask("set", state.number, name, thing)
        state.given.pop(name, None)
        if isinstance(thing, RemoteObject):
            state.given[name] = thing

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object."""
        connection, number = _state_of(self).connection, _state_of(self).number
        return connection.ask("method", number, "__call__", args, kwargs, objects=connection.allow_forgeable)

    def __iter__(self) -> Any:
        """Fetch all items at once."""
        return iter(_applied(self, "list"))

    __hash__ = object.__hash__


def _applied(thing: RemoteObject, name: str, *args: Any) -> Any:
    state = _state_of(thing)
    return state.connection.ask("apply", state.number, name, args, objects=state.connection.allow_forgeable)


def _get_attribute(connection: Connection, number: int | None, name: str) -> tuple[str, Any]:
    """Return the kind of an attribute, and its value or its exception types."""
    match connection.ask("get", number, name, objects=connection.allow_forgeable):
        case [str(kind), thing]:
            return kind, thing
    raise connection.disconnected("the program answered something else than it was asked")


def _forwarding(name: str, forgeable: bool) -> Callable[..., Any]:
    """Return a special method that asks the other process, or fails the test if the result could be forged."""

    def method(self: RemoteObject, *args: Any) -> Any:
        connection = _state_of(self).connection
        if forgeable and not connection.allow_forgeable:
            why = (
                f"the tests leave {name!r} to an object of the program's own class, which could say anything: "
                "compare its values instead, or set allow_forgeable"
            )
            raise connection.invalidate(ForgeableError(why))
        return _applied(self, name, *args)

    return method


_READING = ("len", "bool", "str", "repr", "int", "float", "getitem", "setitem", "delitem")
_COMPARING = ("eq", "ne", "lt", "le", "gt", "ge", "contains")
_COMPUTING = ("add", "sub", "mul", "truediv", "floordiv", "mod", "abs", "neg")
for _name in _READING:
    setattr(RemoteObject, f"__{_name}__", _forwarding(_name, forgeable=False))
for _name in (*_COMPARING, *_COMPUTING):
    setattr(RemoteObject, f"__{_name}__", _forwarding(_name, forgeable=True))


def proxy_of(connection: Connection, name: str) -> Any:
    """Return the proxy for a name: a class if it is in CapWords, else a function. Any: it is one of the two."""
    if not name[:1].isupper():
        return lambda *args, **kwargs: connection.ask("call", name, args, kwargs, objects=connection.allow_forgeable)

    def make(self: RemoteObject, *args: Any, **kwargs: Any) -> None:
        made = connection.ask("call", name, args, kwargs, objects=True)
        if not isinstance(made, RemoteObject):
            raise ProgramError(f"{name} made {made!r:.100}, which is no object")
        object.__setattr__(self, "_state", _state_of(made))

    return type(name, (RemoteObject,), {"__init__": make, "__slots__": ()})


class ModuleProxy(ModuleType):
    """Proxy of the program as a module."""

    def __init__(self, connection: Connection, name: str, names: Sequence[str]) -> None:
        """Take the name that the tests import, and the names that `import *` is to look for."""
        super().__init__(name)
        self.__dict__.update(_connection=connection, _names=names)

    def __getattr__(self, name: str) -> Any:
        """Return a name of the program."""
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        connection = self.__dict__["_connection"]
        is_all = name == "__all__"
        found = _defined_among(connection, self.__dict__["_names"]) if is_all else _proxy_of_name(connection, name)
        self.__dict__[name] = found
        return found


def _defined_among(connection: Connection, names: Sequence[str]) -> list[str]:
    """Return those of some names that the program defines."""
    known = connection.ask("names")
    return [name for name in names if name in known]


def _proxy_of_name(connection: Connection, name: str) -> Any:
    """Return the proxy for a name of the program, or its plain value."""
    kind, thing = _get_attribute(connection, None, name)
    if kind == "exception":
        return connection.kind([str(each) for each in thing]) or proxy_of(connection, name)
    return proxy_of(connection, name) if kind == "function" or isinstance(thing, type) else thing


def forbidden(connection: Connection, name: str) -> Callable[..., Any]:
    """Return what replaces a helper that only the program defines: a function that fails the test."""

    def function(*args: Any, **kwargs: Any) -> Any:
        why = (
            f"the tests call {name!r}, which only the program defines: it could return what makes them pass. "
            "Give the tests their own in `setup`, or set allow_forgeable"
        )
        raise connection.invalidate(ForgeableError(why))

    return function


def _proxy_of_class(connection: Connection, name: str) -> Any:
    """Return the proxy for a name in CapWords, which the program may lack."""
    try:
        return _proxy_of_name(connection, name)
    except AttributeError:
        return proxy_of(connection, name)


def bind_names(connection: Connection, aliases: Sequence[str], entry: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the namespace of test text: the function under its aliases, and the other names that it uses."""
    bound = {alias: proxy_of(connection, entry) for alias in aliases}
    for name in names:
        if name[:1].isupper():
            bound[name] = _proxy_of_class(connection, name)
        else:
            bound[name] = proxy_of(connection, name) if connection.allow_forgeable else forbidden(connection, name)
    return bound
