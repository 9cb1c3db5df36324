"""What tests hold in place of the program: functions, objects and a module that ask the other process.

A function answers in plain values only. An object of one of the program's classes can be made by calling the class,
be given to functions, and be asked through methods, attributes, `len`, indexing and the like, which answer in plain
values as functions do. What it may not do is to decide for itself what it is equal to, greater than, or the sum of:
an object that equals everything would pass every test. Tests that need that are refused unless they allow it.

Which names are classes the tests say: by PEP 8 they begin with a capital letter. A program that defines a class in
place of a function gains no object by it.
"""

import builtins
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, BinaryIO

from reasonrl.sandbox.child.codec import MalformedError, NotPlainError, TooLargeError, encode
from reasonrl.sandbox.child.records import MAX_ANSWER, Record, read, write


class GoneError(BaseException):
    """The program's process ended, or stopped making sense. A test that catches it is not passed by that."""


class SpoiledError(BaseException):
    """What fails a test though the test may catch it, or even expect it: no exception of the program."""


class ForgeableError(SpoiledError):
    """The tests would let an object of the program decide the verdict."""


class ProgramError(Exception):
    """The program raised something that is neither Python's own nor known by name."""


class Link:
    """The way to the program's process."""

    def __init__(self, descriptor: int, replies: BinaryIO, allow_forgeable: bool) -> None:
        """Take the socket, and its reading end."""
        self.descriptor = descriptor
        self.replies = replies
        self.allow_forgeable = allow_forgeable
        self.num_asked = 0
        self.objects: dict[int, Held] = {}
        self.exceptions: dict[str, type[BaseException]] = {}
        self.raised: list[tuple[BaseException, Record]] = []
        self.gone = False
        self.spoiled: SpoiledError | None = None

    def wait(self) -> None:
        """Return when the program is loaded."""
        if self.replies.readline(MAX_ANSWER) != b'"ready"\n':
            raise self.lost("the program ended while it was loaded")

    def lost(self, why: str) -> GoneError:
        """Note that there is nobody to ask any more, and return what to raise."""
        self.gone = True
        return GoneError(why)

    def spoil(self, error: SpoiledError) -> SpoiledError:
        """Note what fails the test that is running, and return it to be raised."""
        self.spoiled = self.spoiled or error
        return error

    def why_spoiled(self) -> SpoiledError | None:
        """Return what has failed the test that ran, once."""
        error, self.spoiled = self.spoiled, None
        return error

    # Any: plain values and objects travel both ways.
    def ask(self, do: str, *values: Any, objects: bool = False) -> Any:
        """Have the other process do something, and return or raise what came of it."""
        self.num_asked += 1
        request = {"i": self.num_asked, "do": do, "with": self.text(values), "objects": objects}
        try:
            write(self.descriptor, json.dumps(request))
            record = read(self.replies.readline(2 * MAX_ANSWER), self.object if objects else None)
        except (MalformedError, OSError) as error:
            raise self.lost(f"the program's process is gone: {error}") from None
        if record.number != self.num_asked:
            raise self.lost("the program answered out of turn")
        if record.outcome is not None:
            raise self.exception(record)
        return record.value

    # Any: as above.
    def text(self, values: tuple[Any, ...]) -> str:
        """Write what goes to the program."""
        try:
            return encode(values, refer=_number)
        except (NotPlainError, TooLargeError) as error:
            raise self.spoil(SpoiledError(f"the test gives the program {error}")) from None

    def object(self, number: int) -> "Held":
        """Return the one stand-in for an object."""
        return self.objects.setdefault(number, Held(self, number))

    def exception(self, record: Record) -> BaseException:
        """Return the exception to raise here for what happened there: of the same type where it is known."""
        error = self.raised_there(record) if record.raised else self.spoil(SpoiledError(record.detail))
        self.raised.append((error, record))
        return error

    def raised_there(self, record: Record) -> BaseException:
        """Return an exception like the one that the program raised, or the nearest that takes just a message."""
        kind = self.kind(record.raised) or ProgramError
        for each in kind.__mro__[:-1]:
            with suppress(TypeError):
                return each(record.detail.partition(": ")[2])  # type: ignore[no-any-return]  # exceptions, all of them
        return ProgramError(record.detail)

    def kind(self, names: Sequence[str]) -> type[BaseException] | None:
        """Return the type that stands for one of the program's, below those that stand for the ones above it."""
        *own, last = names
        kind = _builtin_exception(last)
        if kind is None:
            return None
        for name in reversed(own):
            kind = self.exceptions.setdefault(name, type(name.rpartition(".")[2], (kind,), {}))
        return kind

    def record_of(self, error: BaseException) -> Record | None:
        """Return what the program said, if it is the one that raised this."""
        return next((record for raised, record in self.raised if raised is error), None)


def _builtin_exception(name: str | None) -> type[BaseException] | None:
    """Return an exception that a program may raise in its tests: not one that ends `all(map(...))` without a word."""
    kind = getattr(builtins, name or "", None)
    if not isinstance(kind, type) or not issubclass(kind, (Exception, SystemExit)):
        return None
    return None if issubclass(kind, (StopIteration, StopAsyncIteration)) else kind


def _number(thing: object) -> int | None:
    return _held(thing).number if isinstance(thing, Held) else None


class _State:
    """What a stand-in knows; kept beside its attributes, which are those of the object it stands for."""

    def __init__(self, link: Link, number: int) -> None:
        self.link = link
        self.number = number
        self.given: dict[str, Held] = {}


def _held(thing: "Held") -> _State:
    state: _State = object.__getattribute__(thing, "_state")
    return state


class Held:
    """Stands for an object of the program."""

    __slots__ = ("_state",)

    def __init__(self, link: Link, number: int) -> None:
        """Stand for the object of a number."""
        object.__setattr__(self, "_state", _State(link, number))

    def __getattr__(self, name: str) -> Any:
        """Ask for an attribute, unless it is an object that the tests put there."""
        state = _held(self)
        if name in state.given:
            return state.given[name]
        kind, thing = _looked(state.link, state.number, name)
        if kind != "function":
            return thing
        objects = state.link.allow_forgeable
        return lambda *args, **kwargs: state.link.ask("method", state.number, name, args, kwargs, objects=objects)

    def __setattr__(self, name: str, thing: Any) -> None:
        """Set an attribute of the object."""
        state = _held(self)
        state.link.ask("set", state.number, name, thing)
        state.given.pop(name, None)
        if isinstance(thing, Held):
            state.given[name] = thing

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object."""
        state = _held(self)
        return state.link.ask("method", state.number, "__call__", args, kwargs, objects=state.link.allow_forgeable)

    def __iter__(self) -> Any:
        """Ask for all items at once."""
        return iter(_applied(self, "list"))

    __hash__ = object.__hash__


def _applied(thing: Held, name: str, *args: Any) -> Any:
    state = _held(thing)
    return state.link.ask("apply", state.number, name, args, objects=state.link.allow_forgeable)


def _looked(link: Link, number: int | None, name: str) -> tuple[str, Any]:
    """Return the kind of an attribute, and what comes with it."""
    match link.ask("look", number, name, objects=link.allow_forgeable):
        case [str(kind), thing]:
            return kind, thing
    raise link.lost("the program answered something else than it was asked")


def _delegate(name: str, forgeable: bool) -> Callable[..., Any]:
    """Return a special method that asks the other process, if it may."""

    def method(self: Held, *args: Any) -> Any:
        link = _held(self).link
        if forgeable and not link.allow_forgeable:
            why = (
                f"the tests leave {name!r} to an object of the program's own class, which could say anything: "
                "compare its values instead, or set allow_forgeable"
            )
            raise link.spoil(ForgeableError(why))
        return _applied(self, name, *args)

    return method


_ASKED = ("len", "bool", "str", "repr", "int", "float", "getitem", "setitem", "delitem")
_COMPARING = ("eq", "ne", "lt", "le", "gt", "ge", "contains")
_COMPUTING = ("add", "sub", "mul", "truediv", "floordiv", "mod", "abs", "neg")
for _name in _ASKED:
    setattr(Held, f"__{_name}__", _delegate(_name, forgeable=False))
for _name in (*_COMPARING, *_COMPUTING):
    setattr(Held, f"__{_name}__", _delegate(_name, forgeable=True))


def bind(link: Link, name: str) -> Any:
    """Return what tests call by a name: a class if it is in CapWords, else a function. Any: it is one of the two."""
    if not name[:1].isupper():
        return lambda *args, **kwargs: link.ask("call", name, args, kwargs, objects=link.allow_forgeable)

    def make(self: Held, *args: Any, **kwargs: Any) -> None:
        made = link.ask("call", name, args, kwargs, objects=True)
        if not isinstance(made, Held):
            raise ProgramError(f"{name} made {made!r:.100}, which is no object")
        object.__setattr__(self, "_state", _held(made))

    return type(name, (Held,), {"__init__": make, "__slots__": ()})


class Module(ModuleType):
    """Stands for the program as a module."""

    def __init__(self, link: Link, name: str, names: Sequence[str]) -> None:
        """Go by the name that the tests import, and give them all of some names at once if they ask for all."""
        super().__init__(name)
        self.__dict__.update(_link=link, _names=names)

    def __getattr__(self, name: str) -> Any:
        """Return a name of the program."""
        if name.startswith("__") and name != "__all__":
            raise AttributeError(name)
        link = self.__dict__["_link"]
        found = _shared(link, self.__dict__["_names"]) if name == "__all__" else _found(link, name)
        self.__dict__[name] = found
        return found


def _shared(link: Link, names: Sequence[str]) -> list[str]:
    """Return which of some names the program has."""
    known = link.ask("names")
    return [name for name in names if name in known]


def _found(link: Link, name: str) -> Any:
    """Return the stand-in for a name of the program, or its plain value."""
    kind, thing = _looked(link, None, name)
    if kind == "exception":
        return link.kind([str(each) for each in thing]) or bind(link, name)
    return bind(link, name) if kind == "function" or isinstance(thing, type) else thing


def refused(link: Link, name: str) -> Callable[..., Any]:
    """Return a function in place of one that the program would have to lend its tests."""

    def function(*args: Any, **kwargs: Any) -> Any:
        why = (
            f"the tests call {name!r}, which only the program defines: it could return what makes them pass. "
            "Give the tests their own in `setup`, or set allow_forgeable"
        )
        raise link.spoil(ForgeableError(why))

    return function


def _class(link: Link, name: str) -> Any:
    """Return what test text means by a name in CapWords, which the program may lack."""
    try:
        return _found(link, name)
    except AttributeError:
        return bind(link, name)


def names_bound(link: Link, aliases: Sequence[str], entry: str, names: Sequence[str]) -> dict[str, Any]:
    """Return everything that test text finds under a name."""
    bound = {alias: bind(link, entry) for alias in aliases}
    for name in names:
        if name[:1].isupper():
            bound[name] = _class(link, name)
        else:
            bound[name] = bind(link, name) if link.allow_forgeable else refused(link, name)
    return bound
