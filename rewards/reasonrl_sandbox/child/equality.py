"""Decides on the tests' side whether objects of the program are equal, or ordered.

An equality that the program defines is its own word, so that it never decides alone. Two objects are equal only where
all of this holds:

- they are of one class, and what they hold is equal: attributes and built-in content, fetched and compared here, item
  by item; of a data class the fields that it compares;
- the program's own `__eq__`, where it has one, says so too. Where the two disagree, the test cannot be scored;
- neither object has changed since it was first returned, if the tests have not used it since: the program could
  otherwise fit a result to what it is compared with;
- what the tests made of arguments depends on them: it holds them, or what is made of others is different.

A class without an equality of its own has Python's, identity. An object never equals a plain value, unless its class
is derived from that value's type. Answers about order are asked for both ways around, and must not contradict each
other.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from reasonrl_sandbox.child.codec import TYPES
from reasonrl_sandbox.child.handles import ForgeableError, InvalidTestError, State, state_of
from reasonrl_sandbox.child.stdtypes import BY_KIND

PLAIN = frozenset((*TYPES.values(), *BY_KIND)) - {object}
"""Types of values that are compared by Python itself."""

_MAX_PARTS = 200
"""Parts of arguments that are looked for in an object."""

_OPPOSITE = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}

# Any: in this module, proxies and plain values of any type.


def equal(left: Any, right: Any, is_proxy: Any) -> Any:
    """Return whether a proxy equals something, or NotImplemented where the other one has to say.

    Raises:
        ForgeableError: The program would decide alone.
    """
    state = state_of(left)
    if not is_proxy(right):
        return _equals_plain(left, state, right)
    other = state_of(right)
    if state.connection.allow_forgeable:
        return state.connection.ask("special", "eq", (left, right))
    if state.number == other.number:
        return True
    if "identity" == state.info.equality == other.info.equality:
        return False
    return _equal_objects(left, state, right, other)


def equal_values(left: Any, right: Any, plain: Any, is_proxy: Any) -> Any:
    """Return whether a proxy equals something, by the equality of the built-in type that its class is derived from.

    Raises:
        ForgeableError: The tests made one of the two, and it is the same whatever it is made of.
    """
    same = plain(left, right)
    if same is True and is_proxy(right) and not state_of(left).connection.allow_forgeable:
        for thing in (left, right):
            _check_dependence(thing, state_of(thing))
    return same


def _equals_plain(thing: Any, state: State, value: Any) -> Any:
    """Compare an object with a plain value, by the built-in type that its class is derived from."""
    if type(value) not in PLAIN:
        return NotImplemented
    if state.connection.allow_forgeable:
        return state.connection.ask("special", "eq", (thing, value))
    if state.info.equality == "own" and (state.info.is_named or state.info.value or state.info.content):
        raise forgeable(state, "says itself which plain values it equals")
    return state.info.equality == "base" and bool(_content(thing, state) == value)


def equal_unless_different(thing: Any, value: Any) -> Any:
    """Return whether an object equals a plain value, for a test that says it does not: the program has to agree."""
    state = state_of(thing)
    if state.info.equality != "own" or state.connection.allow_forgeable:
        return _equals_plain(thing, state, value)
    if state.connection.ask("special", "ne", (thing, value)) is not True:
        raise forgeable(state, "says itself which plain values it equals")
    return False


def _content(thing: Any, state: State) -> Any:
    """Return the built-in content of an object, or the object's number where it has none."""
    if state.info.value and state.given is not None:
        return state.given[0]
    return state.connection.ask("states", [thing])[0][0]


def _equal_objects(left: Any, state: State, right: Any, other: State) -> bool:
    same = state.info is other.info or (state.info.equality, other.info.equality) == ("base", "base")
    holds_same = same and _holds_same(left, state, right, other)
    if "own" in (state.info.equality, other.info.equality):
        said = state.connection.ask("special", "eq", (left, right))
        if said is not holds_same:
            raise forgeable(state, f"says that it {'equals' if said else 'differs from'} what holds {_other(said)}")
    if holds_same:
        for thing, each in ((left, state), (right, other)):
            _check_dependence(thing, each)
    return holds_same


def _other(said: object) -> str:
    return "other values" if said else "the same values"


_comparing: set[tuple[int, int]] = set()
"""Pairs of objects that are being compared: objects may refer to each other."""


def _holds_same(left: Any, state: State, right: Any, other: State) -> bool:
    """Compare what two objects hold, fetched now."""
    pair = (state.number, other.number)
    if pair in _comparing:
        return True
    _comparing.add(pair)
    try:
        mine, theirs = state.connection.ask("states", [left, right])
        holds_same = bool(_compared(mine, state) == _compared(theirs, other))
        if holds_same and state.info.equality != "base":
            _check_unchanged(state, mine)
            _check_unchanged(other, theirs)
        return holds_same
    finally:
        _comparing.discard(pair)


def _compared(held: Any, state: State) -> Any:
    """Return the part of an object's state that its class compares."""
    content, attributes = held
    if state.info.equality == "base":
        return content
    if state.info.equality == "fields" and state.info.fields is not None:
        return [attributes.get(name) for name, is_compared in state.info.fields if is_compared]
    return content, attributes


def _check_unchanged(state: State, held: Any) -> None:
    if state.used:
        return
    if state.given is None or state.given is NotImplemented:
        raise forgeable(state, "could not be described when it was returned")
    if _compared(state.given, state) != _compared(held, state):
        raise forgeable(state, "has changed since it was returned, though the test has not used it")


def _check_dependence(thing: Any, state: State) -> None:
    """Refuse an object that is the same whatever it is made of."""
    if state.made_of is None or state.is_dependent:
        return
    kind, args, kwargs, wanted = state.made_of
    state.is_dependent = True  # once is enough
    held = list(parts_of(_compared(state.connection.ask("states", [thing])[0], state)))
    if all(any(type(part) is type(each) and part == each for each in held) for part in wanted):
        return
    if not any(_differs(thing, state, kind, *changed) for changed in _changed(args, kwargs)):
        raise forgeable(state, "is the same whatever it is made of")


def parts_of(value: Any) -> Iterator[Any]:
    """Yield the parts of plain values that say something: numbers and text, at any depth."""
    todo, count = [value], 0
    while todo and count < _MAX_PARTS:
        each, count = todo.pop(), count + 1
        if type(each) not in PLAIN or type(each) in (bool, type(None)):
            continue
        if isinstance(each, dict):
            todo += [*each.keys(), *each.values()]
        elif hasattr(each, "__iter__") and type(each) not in (str, bytes):
            todo += islice(each, _MAX_PARTS)
        elif each != "":
            yield each


def _changed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Yield the arguments with one of them changed."""
    for index, arg in enumerate(args):
        for other in _others(arg):
            yield (*args[:index], other, *args[index + 1 :]), kwargs
    for name, arg in kwargs.items():
        for other in _others(arg):
            yield args, {**kwargs, name: other}


def _others(value: Any) -> Iterator[Any]:
    """Yield values like this one."""
    if type(value) in (int, float):
        yield value + 1
    elif type(value) is str:
        digits = [index for index, letter in enumerate(value) if letter.isdigit()]
        if digits:
            index = digits[-1]
            yield f"{value[:index]}{(int(value[index]) + 1) % 10}{value[index + 1 :]}"
        yield value[:-1] + ("b" if value[-1:] == "a" else "a")
    elif type(value) in (list, tuple) and value:
        for other in _others(value[-1]):
            yield type(value)([*value[:-1], other])
        yield value[:-1]


def _differs(thing: Any, state: State, kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether an object made of other arguments holds something else, or cannot be made."""
    try:
        other = state.connection.ask("call", kind, args, kwargs)
    except Exception:
        return True
    mine, theirs = state.connection.ask("states", [thing, other])
    return bool(_compared(mine, state) != _compared(theirs, state))


def ordered(name: str, left: Any, right: Any, is_proxy: Any) -> Any:
    """Return what the program says about the order of two of its objects, after asking the other way around as well.

    Raises:
        ForgeableError: It contradicts itself, or one of the two is no object of a class that the tests name.
    """
    state = state_of(left)
    connection = state.connection
    if connection.allow_forgeable:
        return connection.ask("special", name, (left, right))
    if not is_proxy(right):
        if type(right) not in PLAIN:
            return NotImplemented
        raise refused(state, name)
    if not (state.info.is_named and state_of(right).info.is_named):
        raise refused(state, name)
    said = connection.ask("special", name, (left, right))
    if said is True:
        back = connection.ask("special", name, (right, left))
        if back is True and (name in ("lt", "gt") or not _holds_same(left, state, right, state_of(right))):
            raise forgeable(state, f"answers {name!r} with true both ways around")
        for thing in (left, right):
            _check_dependence(thing, state_of(thing))
    return said


def refused(state: State, name: str) -> InvalidTestError:
    """Return the error for an operation whose answer the program could choose freely."""
    if state.info.named:
        return forgeable(state, f"says itself what {name!r} of it and something else is")
    why = f"an object of the program's class {state.info.name!r} is no value: the test's {name!r} is not asked of it"
    return state.connection.invalidate(InvalidTestError(why))


def forgeable(state: State, why: str) -> InvalidTestError:
    """Return the error for a test that would take the program's word for its own result."""
    why = f"class {state.info.name!r} {why}: compare values instead, or set allow_forgeable"
    return state.connection.invalidate(ForgeableError(why))
