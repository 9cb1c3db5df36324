"""Plain values as text, for two processes of which neither trusts the other.

Plain are None, bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset and the built-in types
themselves (`int` as an argument). Writing reads every value through the methods of its built-in base class, so what
a class overrides never decides what is sent:

- an instance of a subclass becomes its base value: IntEnum an int, a namedtuple a tuple, a Counter a dict;
- a bytearray becomes bytes, a deque a list;
- an iterator, a range and the views of a dict become the list of their items;
- a numpy scalar or array becomes what its own `tolist` says.

Everything else is not plain. The text is JSON: what JSON has stands for itself (its arrays are lists), and an object
with one key holds the rest. Reading gives exactly the types that were written, or raises. pickle and marshal can
build more than values when they read; msgpack and cbor2 have no tuple or complex, and would be the fork server's
first dependency.
"""

import json
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

MAX_DEPTH = 64
"""Values nested deeper are refused."""

MAX_ITEMS = 500_000
"""Values in a value, and items of an iterator. A value that contains another many times counts it each time."""

MAX_SAME_HASH = 64
"""Keys of one set or dict with one hash. More are an attack: look-ups would take quadratic time."""

EXACT_INT = 2**53
"""Larger integers are written in base 16, which is read in linear time."""

TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, object, type(None))
}
"""The built-in types that are values themselves."""

Refer = Callable[[object], int | None]
"""Returns the number that is sent for an object that is not plain, or None where it cannot be sent."""

Resolve = Callable[[int], object]
"""The object that a number stands for."""


class NotPlainError(TypeError):
    """A value that is not plain data."""


class TooLargeError(ValueError):
    """A plain value that is too large."""


class MalformedError(ValueError):
    """Text that `encode` cannot have written."""


def encode(value: object, max_bytes: int = 1 << 20, refer: Refer | None = None) -> str:
    """Write a value.

    Raises:
        NotPlainError: It contains something that is not plain data, or itself.
        TooLargeError: It nests too deep, has too many items, or its text is longer than `max_bytes`.
    """
    text = json.dumps(_Writer(refer).tree(value, 0), separators=(",", ":"))
    if len(text) > max_bytes:
        raise TooLargeError(f"a value of {len(text)} bytes; the limit is {max_bytes}")
    return text


# Any: trees of JSON have no narrower type.
class _Writer:
    """Turns one value into a tree of JSON."""

    def __init__(self, refer: Refer | None) -> None:
        self.refer = refer
        self.path: set[int] = set()
        self.num_items = 0

    def tree(self, value: object, depth: int) -> Any:
        """Return the tree of a value."""
        self.num_items += 1
        if self.num_items > MAX_ITEMS:
            raise TooLargeError(f"more than {MAX_ITEMS} values in one")
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if issubclass(kind, (int, float, complex, str, bytes, bytearray)):
            return _scalar(value, kind)
        if isinstance(value, type) and kind is type and TYPES.get(value.__name__) is value:
            return {"y": value.__name__}
        return self.container(value, kind, depth)

    def container(self, value: object, kind: type, depth: int) -> Any:
        """Return the tree of a container."""
        if depth >= MAX_DEPTH:
            raise TooLargeError(f"values nested more than {MAX_DEPTH} deep")
        if id(value) in self.path:
            raise NotPlainError("a value that contains itself")
        self.path.add(id(value))
        tree = self.items(value, kind, depth + 1)
        self.path.discard(id(value))
        return tree

    # Any: the methods of a base class are given an instance of a subclass that mypy cannot know.
    def items(self, value: Any, kind: type, depth: int) -> Any:
        """Return the tree by the nearest built-in base class."""
        if issubclass(kind, list):
            return self.each(list.__iter__(value), depth)
        if issubclass(kind, tuple):
            return {"t": self.each(tuple.__iter__(value), depth)}
        if issubclass(kind, dict):
            base = OrderedDict if issubclass(kind, OrderedDict) else dict
            return {"d": [[self.tree(key, depth), self.tree(item, depth)] for key, item in base.items(value)]}
        if issubclass(kind, set):
            return {"s": self.each(set.__iter__(value), depth)}
        if issubclass(kind, frozenset):
            return {"z": self.each(frozenset.__iter__(value), depth)}
        if issubclass(kind, deque):
            return self.each(deque.__iter__(value), depth)
        return self.other(value, kind, depth)

    def other(self, value: Any, kind: type, depth: int) -> Any:
        """Return the tree of a value without a built-in base, by one of the rules above."""
        if issubclass(kind, _numpy_kinds()):
            return self.tree(value.tolist(), depth)
        number = self.refer(value) if self.refer else None
        if number is not None:
            return {"o": number}
        if issubclass(kind, _LISTED) or hasattr(kind, "__next__"):
            return self.each(iter(value), depth)
        raise NotPlainError(f"an object of class {kind.__name__!r}, which is no plain data")

    def each(self, items: Iterable[object], depth: int) -> list[Any]:
        """Return the trees of items. An endless iterator ends at `MAX_ITEMS`."""
        return [self.tree(item, depth) for item in items]


_LISTED: tuple[type, ...] = (range, type({}.keys()), type({}.values()), type({}.items()))


def _numpy_kinds() -> tuple[type, ...]:
    """The classes of numpy's values, if the process has numpy."""
    numpy = sys.modules.get("numpy")
    return (numpy.generic, numpy.ndarray) if numpy is not None and hasattr(numpy, "ndarray") else ()


# Any: as above, each branch has asked for the class.
def _scalar(value: Any, kind: type) -> Any:
    """Return the tree of a number or a string, read through its built-in base."""
    if issubclass(kind, int):
        number = int.__index__(value)
        return number if -EXACT_INT <= number <= EXACT_INT else {"i": hex(number)}
    if issubclass(kind, float):
        return _float(float.__float__(value))
    if issubclass(kind, complex):
        plain = complex.__pos__(value)
        return {"c": [_float(plain.real), _float(plain.imag)]}
    if issubclass(kind, str):
        return str.__str__(value)
    return {"b": (bytes if issubclass(kind, bytes) else bytearray).hex(value)}


def _float(number: float) -> Any:
    return number if number - number == 0 else {"f": repr(number)}


def decode(text: str | bytes, resolve: Resolve | None = None) -> Any:
    """Read a value. Any: it may be any plain value.

    Raises:
        MalformedError: `encode` cannot have written this text.
    """
    return value_of(parse(text), resolve)


def parse(text: str | bytes) -> Any:
    """Read strict JSON of any shape.

    Raises:
        MalformedError: It is none; NaN and Infinity, which Python's reader takes, are not either.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{type(error).__name__}: {error}"[:200]) from None


def value_of(tree: Any, resolve: Resolve | None = None) -> Any:
    """Return the value of a tree.

    Raises:
        MalformedError: `encode` cannot have made it.
    """
    try:
        return _Reader(resolve).value(tree, 0)
    except MalformedError:
        raise
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise MalformedError(f"{type(error).__name__}: {error}"[:200]) from None


def _no_constant(name: str) -> None:
    raise MalformedError(f"{name} is no JSON")


class _Reader:
    """Turns a tree of JSON back into a value."""

    def __init__(self, resolve: Resolve | None) -> None:
        self.resolve = resolve
        self.tags: dict[str, Callable[[Any, int], object]] = {
            "i": lambda text, _: int(_exactly(str, text), 16),
            "f": lambda text, _: {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}[_exactly(str, text)],
            "c": self.complex,
            "b": lambda text, _: bytes.fromhex(_exactly(str, text)),
            "y": lambda text, _: TYPES[_exactly(str, text)],
            "t": lambda trees, depth: tuple(self.each(trees, depth)),
            "d": self.dict,
            "s": lambda trees, depth: set(distinct_keys(self.each(trees, depth))),
            "z": lambda trees, depth: frozenset(distinct_keys(self.each(trees, depth))),
            "o": self.object,
        }

    def value(self, tree: Any, depth: int) -> Any:
        """Return the value of a tree."""
        if type(tree) is list:
            return list(self.each(tree, depth))
        if type(tree) is not dict:
            return tree
        if len(tree) != 1:
            raise MalformedError("a tag has one key")
        ((tag, content),) = tree.items()
        if tag not in self.tags:
            raise MalformedError(f"no tag {tag[:20]!r}")
        try:
            return self.tags[tag](content, depth)
        except KeyError:
            raise MalformedError(f"tag {tag!r} has no such content") from None

    def each(self, trees: Any, depth: int) -> Iterator[Any]:
        """Yield the values of trees."""
        if depth >= MAX_DEPTH:
            raise MalformedError(f"nested more than {MAX_DEPTH} deep")
        return (self.value(tree, depth + 1) for tree in _exactly(list, trees))

    def dict(self, pairs: Any, depth: int) -> object:
        """Return a dict from pairs."""
        keys = distinct_keys(self.each([key for key, _ in _exactly(list, pairs)], depth))
        return dict(zip(keys, self.each([item for _, item in pairs], depth), strict=True))

    def complex(self, parts: Any, _: int) -> object:
        """Return a complex number from its two parts."""
        real, imag = (self.value(part, 0) for part in _exactly(list, parts))
        return complex(_exactly(float, real), _exactly(float, imag))

    def object(self, number: Any, _: int) -> object:
        """Return the object that a number stands for."""
        if self.resolve is None:
            raise MalformedError("an object where only plain data may stand")
        return self.resolve(_exactly(int, number))


def _exactly(kind: type, content: Any) -> Any:
    if type(content) is not kind:
        raise MalformedError(f"{kind.__name__} expected, not {type(content).__name__}")
    return content


def distinct_keys(keys: Iterable[Any]) -> list[Any]:
    """Return keys for a set or dict, after checking that their hashes do not collide.

    Raises:
        MalformedError: They were chosen to collide.
    """
    listed = list(keys)
    with_hash: dict[int, list[Any]] = {}
    for key in listed:
        same = with_hash.setdefault(hash(key), [])
        if key not in same:
            same.append(key)
        if len(same) > MAX_SAME_HASH:
            raise MalformedError("too many keys with one hash")
    return listed
