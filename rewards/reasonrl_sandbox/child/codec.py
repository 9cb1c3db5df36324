"""Plain values as text, for two processes of which neither trusts the other.

Plain are None, bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, the standard library's types
of values (`stdtypes`) and the built-in types themselves (`int` as an argument). Types are exact: a value is written by
the type that it has, and read as that type. Writing never calls a method that a class overrides:

- an instance of a subclass of a built-in type is written as its base value, IntEnum as int and a namedtuple as tuple,
  unless its class defines an equality of its own;
- a numpy scalar or array becomes what its own `tolist` says.

Everything else, also generators and other iterators, is not plain: `Links` may let a number stand for it. The text is
JSON: what JSON has stands for itself (its arrays are lists), and an object with one key holds the rest. Reading gives
exactly the types that were written, or raises. pickle and marshal can build more than values when they read; msgpack
and cbor2 have no tuple or complex, and would be the fork server's first dependency.
"""

import json
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from reasonrl_sandbox.child.stdtypes import BY_KIND, BY_NAME, MUTABLE

MAX_DEPTH = 64
"""Values nested deeper are refused."""

MAX_ITEMS = 500_000
"""Values in a value, and items of an iterator. A value that contains another many times counts it each time."""

MAX_SAME_HASH = 64
"""Keys of one set or dict with one hash. More are an attack: look-ups would take quadratic time."""

MAX_SAME_HASH_PAIRS = 32_768
"""Pairs of keys with one hash in all sets and dicts of a value. Comparing a set looks up each of its keys, so that the
time for nested sets with such keys grows with the product of their numbers."""

MAX_KEYS_S = 1.0
"""CPU seconds for hashing the keys of one value. Keys of different hashes can be chosen so that each look-up passes
most of a table; honest keys take a hundredth of this."""

EXACT_INT = 2**53
"""Larger integers are written in base 16, which is read in linear time."""

TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, object, type(None))
}
"""The built-in types that are values themselves."""

_CONSTANTS: dict[str, object] = {"...": ..., "NotImplemented": NotImplemented}


class Links(Protocol):
    """What stands for things that are not plain, and for containers that both processes hold.

    Any: trees of JSON.
    """

    def refer(self, thing: object) -> Any:
        """Return the tree that stands for a thing that is not plain, or None where nothing does."""
        ...

    def resolve(self, tree: Any) -> object:
        """Return the thing that a tree stands for; raises MalformedError where it stands for none."""
        ...

    def mark(self, container: object) -> tuple[int, bool] | None:
        """Return the number of a container that both sides are to hold, and whether the other one has it already."""
        ...

    def adopt(self, number: int, container: object) -> object:
        """Keep a container that was read under its number."""
        ...

    def shared(self, number: int) -> object:
        """Return the container of a number."""
        ...


class NotPlainError(TypeError):
    """A value that is not plain data."""


class TooLargeError(ValueError):
    """A plain value that is too large."""


class MalformedError(ValueError):
    """Text that `encode` cannot have written."""


def encode(value: object, max_bytes: int = 1 << 20, *, as_dict: bool = False) -> str:
    """Write a value.

    Args:
        value: What to write.
        max_bytes: Length of the longest text.
        as_dict: Write Counter, OrderedDict and defaultdict as the dict that they equal.

    Raises:
        NotPlainError: It contains something that is not plain data, or itself.
        TooLargeError: It nests too deep, has too many items, or its text is longer than `max_bytes`.
    """
    text = json.dumps(_Writer(None, as_dict).tree(value, 0), separators=(",", ":"))
    if len(text) > max_bytes:
        raise TooLargeError(f"a value of {len(text)} bytes; the limit is {max_bytes}")
    return text


# Any: trees of JSON have no narrower type.
def tree_of(value: object, links: Links | None = None) -> Any:
    """Return the tree of JSON for a value; raises as `encode` does."""
    return _Writer(links).tree(value, 0)


class _Writer:
    """Turns one value into a tree of JSON."""

    def __init__(self, links: Links | None, as_dict: bool = False) -> None:
        self.links = links
        self.as_dict = as_dict
        self.path: set[int] = set()
        self.num_items = 0

    # Any: a value of whatever type the branches ask for.
    def tree(self, value: Any, depth: int) -> Any:
        """Return the tree of a value."""
        self.num_items += 1
        if self.num_items > MAX_ITEMS:
            raise TooLargeError(f"more than {MAX_ITEMS} values in one")
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind in _SCALARS:
            return _scalar(value, kind)
        if kind in _CONTAINERS or kind in BY_KIND:
            return self.container(value, kind, depth)
        if kind is type and TYPES.get(name := type.__dict__["__name__"].__get__(value)) is value:
            return {"y": name}
        if value is ... or value is NotImplemented:
            return {"k": "..." if value is ... else "NotImplemented"}
        return self.other(value, kind, depth)

    def container(self, value: object, kind: type, depth: int) -> Any:
        """Return the tree of a container, or of another value that has parts."""
        if depth >= MAX_DEPTH:
            raise TooLargeError(f"values nested more than {MAX_DEPTH} deep")
        if id(value) in self.path:
            raise NotPlainError("a value that contains itself")
        mark = self.links.mark(value) if self.links and kind in MUTABLE else None
        if mark and mark[1]:
            return {"m": [mark[0]]}
        self.path.add(id(value))
        tree = self.parts(value, kind, depth + 1)
        self.path.discard(id(value))
        return {"m": [mark[0], tree]} if mark else tree

    def parts(self, value: Any, kind: type, depth: int) -> Any:
        """Return the tree by the exact type, or by the nearest built-in base class."""
        if kind in BY_KIND and not (self.as_dict and issubclass(kind, dict)):
            return {"v": [kind.__name__, *self.each(BY_KIND[kind].take_apart(value), depth)]}
        if issubclass(kind, list):
            return self.each(list.__iter__(value), depth)
        if issubclass(kind, dict):
            base = OrderedDict if issubclass(kind, OrderedDict) else dict
            return {"d": [[self.tree(key, depth), self.tree(item, depth)] for key, item in base.items(value)]}
        builtin, tag = next((builtin, tag) for builtin, tag in _TAGS if issubclass(kind, builtin))
        return {tag: self.each(builtin.__iter__(value), depth)}

    def other(self, value: Any, kind: type, depth: int) -> Any:
        """Return the tree of a value whose type is none of the exact ones."""
        if issubclass(kind, _numpy_kinds()):
            return self.tree(value.tolist(), depth)
        link = self.links.refer(value) if self.links else None
        if link is not None:
            return {"o": link}
        if not issubclass(kind, (*_SCALARS, *_CONTAINERS)) or own_equality(kind):
            raise NotPlainError(f"an object of class {kind.__name__!r}, which is no plain data")
        return _scalar(value, kind) if issubclass(kind, _SCALARS) else self.container(value, kind, depth)

    def each(self, items: Iterable[object], depth: int) -> list[Any]:
        """Return the trees of items."""
        return [self.tree(item, depth) for item in items]


_SCALARS: tuple[type, ...] = (int, float, complex, str, bytes)
_CONTAINERS: tuple[type, ...] = (list, tuple, dict, set, frozenset)
_TAGS: tuple[tuple[Any, str], ...] = ((tuple, "t"), (set, "s"), (frozenset, "z"))

BUILT_IN = frozenset((*_SCALARS, *_CONTAINERS, bool, object))
"""The types whose own methods are Python's."""


def own_equality(kind: type) -> bool:
    """Return whether a class derived from a built-in type says itself what its instances equal."""
    # The descriptors of `type` itself: a metaclass of the program could override the attributes.
    own = set(type.__dict__["__mro__"].__get__(kind)) - BUILT_IN - BY_KIND.keys()
    return any("__eq__" in type.__dict__["__dict__"].__get__(each) for each in own)


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
    return str.__str__(value) if issubclass(kind, str) else {"b": bytes.hex(value)}


def _float(number: float) -> Any:
    return number if number - number == 0 else {"f": repr(number)}


def decode(text: str | bytes, links: Links | None = None) -> Any:
    """Read a value. Any: it may be any plain value.

    Raises:
        MalformedError: `encode` cannot have written this text.
    """
    return value_of(parse(text), links)


def parse(text: str | bytes) -> Any:
    """Read strict JSON of any shape.

    Raises:
        MalformedError: It is none; NaN and Infinity, which Python's reader takes, are not either.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{type(error).__name__}: {error}"[:200]) from None


def value_of(tree: Any, links: Links | None = None) -> Any:
    """Return the value of a tree.

    Raises:
        MalformedError: `encode` cannot have made it.
    """
    try:
        return _Reader(links).value(tree, 0)
    except MalformedError:
        raise
    except (ValueError, TypeError, RecursionError, ArithmeticError, LookupError, OSError) as error:
        raise MalformedError(f"{type(error).__name__}: {error}"[:200]) from None


def _no_constant(name: str) -> None:
    raise MalformedError(f"{name} is no JSON")


class _Reader:
    """Turns a tree of JSON back into a value."""

    def __init__(self, links: Links | None) -> None:
        self.links = links
        self.keys = KeyChecker()
        self.tags: dict[str, Callable[[Any, int], object]] = {
            "i": lambda text, _: int(_exactly(str, text), 16),
            "f": lambda text, _: {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}[_exactly(str, text)],
            "c": self.complex,
            "b": lambda text, _: bytes.fromhex(_exactly(str, text)),
            "y": lambda text, _: TYPES[_exactly(str, text)],
            "t": lambda trees, depth: tuple(self.each(trees, depth)),
            "d": self.dict,
            "s": lambda trees, depth: set(self.keys.check(self.each(trees, depth))),
            "z": lambda trees, depth: frozenset(self.keys.check(self.each(trees, depth))),
            "k": lambda name, _: _CONSTANTS[_exactly(str, name)],
            "v": self.standard,
            "o": self.linked,
            "m": self.marked,
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
        keys = self.keys.check(self.each([key for key, _ in _exactly(list, pairs)], depth))
        return dict(zip(keys, self.each([item for _, item in pairs], depth), strict=True))

    def complex(self, parts: Any, _: int) -> object:
        """Return a complex number from its two parts."""
        real, imag = (self.value(part, 0) for part in _exactly(list, parts))
        return complex(_exactly(float, real), _exactly(float, imag))

    def standard(self, content: Any, depth: int) -> object:
        """Return a value of one of the standard library's types."""
        name, *parts = _exactly(list, content)
        return BY_NAME[_exactly(str, name)].build(*self.each(parts, depth))

    def linked(self, tree: Any, _: int) -> object:
        """Return what a tree stands for."""
        if self.links is None:
            raise MalformedError("an object where only plain data may stand")
        return self.links.resolve(tree)

    def marked(self, content: Any, depth: int) -> object:
        """Return a container that both processes hold, new or known."""
        number, *trees = _exactly(list, content)
        if self.links is None or len(trees) > 1:
            raise MalformedError("a shared container where only plain data may stand")
        if not trees:
            return self.links.shared(_exactly(int, number))
        return self.links.adopt(_exactly(int, number), self.value(trees[0], depth))


def _exactly(kind: type, content: Any) -> Any:
    if type(content) is not kind:
        raise MalformedError(f"{kind.__name__} expected, not {type(content).__name__}")
    return content


class KeyChecker:
    """Bounds the time that the sets and dicts of one value take: a program has chosen their keys."""

    def __init__(self) -> None:
        self.num_pairs = 0
        self.spent_s = 0.0

    def check(self, keys: Iterable[Any]) -> list[Any]:
        """Return the keys of one set or dict, after checking that their hashes do not collide.

        Nothing is compared here: that is what takes the time. Any: plain values of any type.

        Raises:
            MalformedError: They were chosen to collide.
        """
        listed, num_with_hash, began_s = list(keys), dict[int, int](), time.thread_time()
        for number, key in enumerate(listed):
            same = num_with_hash[hash(key)] = num_with_hash.get(hash(key), 0) + 1
            self.num_pairs += same - 1
            if same > MAX_SAME_HASH or self.num_pairs > MAX_SAME_HASH_PAIRS or self.is_late(number, began_s):
                raise MalformedError("too many keys with one hash, or in one part of a table")
        self.spent_s += time.thread_time() - began_s
        return listed

    def is_late(self, number: int, began_s: float) -> bool:
        """Return whether keys have taken too long; the clock is read for every 64th."""
        return number % 64 == 63 and self.spent_s + time.thread_time() - began_s > MAX_KEYS_S
