"""Special methods of proxies: which questions go to the program, and what the tests' side makes of the answers.

A program may answer whatever it likes to questions for a value: `len(x)`, `x[0]`, `str(x)`, iteration, methods. A test
compares such answers itself. What would be the verdict already is decided here: equality and order (`equality`),
membership, and arithmetic that mixes an object with a plain number and gives a number, as in `abs(f(x) - 0.5) < 1e-6`.
"""

import builtins
import dis
import operator
import secrets
from collections.abc import Callable
from typing import Any

from reasonrl_sandbox.child.equality import PLAIN, equal, equal_unless_different, forgeable, ordered, refused
from reasonrl_sandbox.child.handles import InvalidTestError, State, state_of

# Any: in this module, proxies and plain values of any type.

_FETCH_AHEAD = 64
"""After so many items, an iterator is asked for several at once."""

_VALUES = (
    "len",
    "bool",
    "str",
    "repr",
    "format",
    "bytes",
    "int",
    "float",
    "complex",
    "index",
    "round",
    "trunc",
    "floor",
)
_PLACES = ("getitem", "setitem", "delitem", "reversed", "fspath", "dir")
_ASKED = (*_VALUES, "ceil", "abs", "neg", "pos", "invert", *_PLACES)
_ORDER = ("lt", "le", "gt", "ge")
_NUMBERS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul")
_ARITHMETIC = (*_NUMBERS, "lshift", "rshift", "and", "or", "xor")
_IN_PLACE = [name for name in _ARITHMETIC if name != "divmod"]
_WORDS = {"and": "and_", "or": "or_"}


class Special:
    """The special methods that a proxy may have, by name. `is_proxy` says whether something is one."""

    def __init__(self, is_proxy: Callable[[Any], bool]) -> None:
        self.is_proxy = is_proxy
        self.methods: dict[str, Any] = {
            "__hash__": lambda thing: _ask(thing, "hash"),
            "__contains__": lambda thing, item: self.contains(thing, item),
            "__iter__": lambda thing: _ask(thing, "iter"),
            "__next__": next_item,
            "__call__": lambda thing, *args, **kwargs: state_of(thing).connection.ask("call", thing, args, kwargs),
            "__enter__": lambda thing: _method(thing, "__enter__"),
            "__exit__": leave,
            "__aenter__": lambda thing: _method(thing, "__aenter__"),
            "__aexit__": leave_later,
            "__await__": lambda thing: awaited(thing).__await__(),
            "__aiter__": lambda thing: _method(thing, "__aiter__"),
            "__anext__": lambda thing: awaited(_method(thing, "__anext__")),
            "__eq__": lambda thing, other: equal(thing, other, is_proxy),
            "__ne__": lambda thing, other: self.differs(thing, other),
        }
        for name in _ASKED:
            self.methods[f"__{name}__"] = _asking(name)
        for name in _ORDER:
            self.methods[f"__{name}__"] = self.ordering(name)
        for name in _ARITHMETIC:
            self.methods[f"__{name}__"] = self.computing(name, is_reflected=False)
            self.methods[f"__r{name}__"] = self.computing(name, is_reflected=True)
        for name in _IN_PLACE:
            self.methods[f"__i{name}__"] = self.computing(f"i{name}", is_reflected=False)

    def differs(self, thing: Any, other: Any) -> Any:
        """Return the opposite of equality."""
        same = equal_unless_different(thing, other) if type(other) in PLAIN else equal(thing, other, self.is_proxy)
        return same if same is NotImplemented else not same

    def ordering(self, name: str) -> Callable[[Any, Any], Any]:
        """Return a method for the order of two objects."""
        return lambda thing, other: ordered(name, thing, other, self.is_proxy)

    def computing(self, name: str, *, is_reflected: bool) -> Callable[[Any, Any], Any]:
        """Return a method for arithmetic with two operands."""

        def method(thing: Any, other: Any, *more: Any) -> Any:
            if not self.is_proxy(other) and type(other) not in PLAIN:
                return NotImplemented
            state = state_of(thing)
            pair = (other, thing) if is_reflected else (thing, other)
            if not state.connection.allow_forgeable and not state.info.is_named:
                raise refused(state, name)
            result = state.connection.ask("special", _WORDS.get(name, name), (*pair, *more))
            if not state.connection.allow_forgeable and self.could_be_verdict(state, name, pair, result):
                raise forgeable(state, f"says itself what value {name!r} of it and a plain value gives")
            return result

        return method

    def could_be_verdict(self, state: State, name: str, pair: tuple[Any, Any], result: Any) -> bool:
        """Return whether a result could decide a test: it is a value, made of an object and a value."""
        if all(map(self.is_proxy, pair)):
            return False
        value = state_of(result).info.value if self.is_proxy(result) else type(result).__name__
        if value is None:
            return False
        return not (state.info.value and self.is_builtin_result(name, pair, result))

    def contains(self, thing: Any, item: Any) -> Any:
        """Look for an item: among those that the object gives, or else by asking it, if the tests mean its class."""
        state = state_of(thing)
        if state.connection.allow_forgeable:
            return state.connection.ask("special", "contains", (thing, item))
        is_asked = "__contains__" in state.info.special and state.info.is_named and state.made_of is not None
        if "__iter__" not in state.info.special:
            return self.said_to_contain(thing, state, item) if is_asked else self.is_among(thing, state, item)
        said = state.connection.ask("special", "contains", (thing, item)) if is_asked else None
        found = self.is_among(thing, state, item)
        if said is not None and said is not found:
            raise forgeable(state, f"says that it {'contains' if said else 'lacks'} an item, and gives other items")
        return found

    def is_among(self, thing: Any, state: State, item: Any) -> bool:
        """Return whether an item is among those that an object gives."""
        if "__iter__" not in state.info.special and "__getitem__" not in state.info.special:
            raise refused(state, "contains")
        return any(item is each or item == each for each in thing)

    def said_to_contain(self, thing: Any, state: State, item: Any) -> Any:
        """Ask an object that gives no items whether it contains one, if it does not say so of everything."""
        said = state.connection.ask("special", "contains", (thing, item))
        if said is True and all(
            _contains(thing, state, other) for other in (secrets.token_hex(12), secrets.randbits(61))
        ):
            raise forgeable(state, "says that it contains everything")
        return said

    def plain(self, thing: Any) -> Any:
        """Return the value of an object whose class is derived from an unchanging built-in type."""
        return state_of(thing).given[0] if self.is_proxy(thing) and state_of(thing).info.value else thing

    def is_builtin_result(self, name: str, pair: tuple[Any, Any], result: Any) -> bool:
        """Return whether a number's own arithmetic gives what its built-in type gives."""
        left, right = map(self.plain, pair)
        function = getattr(operator, _WORDS.get(name, name), None) or divmod
        try:
            return bool(function(left, right) == self.plain(result))
        except (TypeError, ArithmeticError):
            return False


def _contains(thing: Any, state: State, item: object) -> bool:
    try:
        return bool(state.connection.ask("special", "contains", (thing, item)))
    except Exception:
        return False


def _ask(thing: Any, name: str, *args: Any) -> Any:
    return state_of(thing).connection.ask("special", name, (thing, *args))


def _method(thing: Any, name: str, *args: Any) -> Any:
    return state_of(thing).connection.ask("method", thing, name, args, {})


def _asking(name: str) -> Callable[..., Any]:
    return lambda thing, *args: _ask(thing, name, *args)


def next_item(thing: Any) -> Any:
    """Return the next item of an iterator of the program, fetched one by one at first and several at once later."""
    state = state_of(thing)
    if not state.items:
        _fetch(thing, state, "next", ())
    return state.items.pop()


def _fetch(thing: Any, state: State, name: str, args: tuple[Any, ...]) -> None:
    """Fetch items; raises StopIteration where the iterator has ended."""
    many = name == "next" and state.num_fetched >= _FETCH_AHEAD
    items, _, value = state.connection.ask("next", thing, many, name, args)
    if not items:
        raise StopIteration(*([] if value is None else [value]))
    state.items = list(reversed(items))
    state.num_fetched += len(items)


def resumed(name: str) -> Callable[..., Any]:
    """Return a method `send` or `throw` of a generator of the program."""

    def method(thing: Any, *args: Any) -> Any:
        state = state_of(thing)
        state.items = []
        _fetch(thing, state, name, args)
        return state.items.pop()

    return method


def leave(thing: Any, kind: Any, error: Any, trace: Any) -> Any:
    """End a `with` block. A program may not suppress what the test itself raised in it."""
    said = _method(thing, "__exit__", kind, error, None)
    return _may_suppress(thing, error, trace) and bool(said)


async def leave_later(thing: Any, kind: Any, error: Any, trace: Any) -> Any:
    """End an `async with` block."""
    said = await _method(thing, "__aexit__", kind, error, None)
    return _may_suppress(thing, error, trace) and bool(said)


def _may_suppress(thing: Any, error: Any, trace: Any) -> bool:
    """Return whether the program may suppress an exception: its own, one that the test raises for it to suppress.

    An AssertionError, or what a wrong value leads to, such as an attribute that it lacks, is the test's own result.
    """
    if error is None or state_of(thing).connection.allow_forgeable:
        return True
    if isinstance(error, (AssertionError, InvalidTestError)) or not isinstance(
        error, (Exception, KeyboardInterrupt, SystemExit)
    ):
        return False
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if state_of(thing).connection.is_of_program(error):
        return True
    code = trace.tb_frame.f_code
    return dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS" or _is_constant_line(code, trace)


def _is_constant_line(code: Any, trace: Any) -> bool:
    """Return whether the line that failed uses nothing but constants and built-in names, as `1 / 0` or `int("x")`."""
    used = [each for each in dis.get_instructions(code) if each.positions and each.positions.lineno == trace.tb_lineno]
    builtin = {"LOAD_GLOBAL", "LOAD_NAME"}
    return all(
        not each.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "LOAD_ATTR", "LOAD_METHOD"))
        and (each.opname not in builtin or each.argval in _BUILTIN_NAMES)
        for each in used
    )


_BUILTIN_NAMES = frozenset(vars(builtins))


def running(name: str) -> Callable[..., Any]:
    """Return a method of a coroutine of the program, which an event loop of the tests runs."""

    def method(thing: Any, *args: Any) -> Any:
        state = state_of(thing)
        if state.running is None:
            state.running = awaited(thing)
        return getattr(state.running, name)(*args)

    return method


async def awaited(thing: Any) -> Any:
    """Run a coroutine of the program while those of the tests run too."""
    import asyncio  # few tests need it, and the fork server would hold it for all

    connection = state_of(thing).connection
    task = connection.ask("task", thing)
    try:
        while True:
            how, result = connection.ask("step", task)
            if how == "done":
                return result
            if how == "ended":
                raise StopAsyncIteration
            if how == "cancelled":
                raise asyncio.CancelledError
            await asyncio.sleep(0)
    except asyncio.CancelledError:
        connection.ask("cancel", task)
        raise
