"""The program's side of mode `split`: what the driver is told about classes, functions and objects of the program.

All of it is the program's word. The driver believes it as far as a test could believe an ordinary answer, and decides
equality itself.
"""

import dataclasses
import enum
import inspect
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from types import MethodType
from typing import Any

from reasonrl_sandbox.child.codec import BUILT_IN
from reasonrl_sandbox.child.records import kinds
from reasonrl_sandbox.child.stdtypes import BY_KIND

_TYPE = type.__dict__

VALUE_BASES: tuple[type, ...] = (bool, int, float, complex, str, bytes, tuple, frozenset)
"""Built-in types whose instances never change: of an object derived from one, the driver holds the value itself."""

CONTENT_BASES: tuple[type, ...] = (list, dict, set, bytearray)
"""Built-in containers: of an object derived from one, the driver fetches the content."""


def mro(kind: type) -> tuple[type, ...]:
    """Return a class and its bases, whatever its metaclass says."""
    found: tuple[type, ...] = _TYPE["__mro__"].__get__(kind)
    return found


def own_names(kind: type) -> dict[str, Any]:
    """Return what a class itself defines. Any: attributes of any type."""
    return dict(_TYPE["__dict__"].__get__(kind))


def global_name(thing: Any) -> list[str] | None:
    """Return module and name of what the standard library defines, or None for anything else."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module.partition(".")[0] not in _STANDARD:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return [module, name] if found is thing else None


_STANDARD = sys.stdlib_module_names | {"builtins"}


# Any: a description is a dict of plain values.
def describe_class(kind: type) -> dict[str, Any]:
    """Return what the driver's stand-in for a class has to know."""
    defined = {
        name: thing for each in reversed(mro(kind)) if each is not object for name, thing in own_names(each).items()
    }
    return {
        "name": kind.__name__,
        "qualname": kind.__qualname__,
        "module": kind.__module__,
        "doc": kind.__doc__ if isinstance(kind.__doc__, str) else None,
        "known": global_name(kind),
        "raised": kinds(kind) if issubclass(kind, BaseException) else None,
        "value": next((base.__name__ for base in VALUE_BASES if base in mro(kind)), None),
        "content": next((base.__name__ for base in CONTENT_BASES if base in mro(kind)), None),
        "special": sorted(name for name in defined if _is_special(name) and defined[name] is not None),
        "overrides": sorted(_overridden(kind)),
        "methods": sorted(name for name, thing in own_names(kind).items() if inspect.isroutine(thing)),
        "equality": _equality(kind),
        "hashable": defined.get("__hash__", object.__hash__) is not None,
        "fields": _fields(kind),
        "tuple_fields": list(kind._fields) if tuple in mro(kind) and hasattr(kind, "_fields") else None,
        "enum": issubclass(kind, enum.Enum),
    }


def _overridden(kind: type) -> set[str]:
    """Return the special methods that a class or a base defines, those of built-in types left out."""
    own = [each for each in mro(kind) if each not in BUILT_IN and global_name(each) is None]
    return {name for each in own for name in own_names(each) if _is_special(name)}


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _equality(kind: type) -> str:
    """Return what decides equality: `identity`, the `fields` of a data class, a built-in `base`, or an `own` method."""
    for each in mro(kind):
        if "__eq__" not in own_names(each):
            continue
        if each is object:
            return "identity"
        if each in BUILT_IN or each in BY_KIND or each in (bytearray, BaseException):
            return "base"
        return "fields" if _is_generated(each) else "own"
    return "identity"


def _is_generated(kind: type) -> bool:
    """Return whether `dataclass` wrote a class's `__eq__`: its code has no file."""
    method = own_names(kind)["__eq__"]
    wrote = getattr(getattr(method, "__code__", None), "co_filename", "") == "<string>"
    return wrote and "__dataclass_params__" in own_names(kind)


def _fields(kind: type) -> list[list[Any]] | None:
    """Return the fields of a data class: the name, and whether it is compared."""
    if not dataclasses.is_dataclass(kind):
        return None
    return [[field.name, field.compare, field.init] for field in dataclasses.fields(kind)]


def describe_signature(function: Any) -> Any:
    """Return the parameters of a function: name, kind, and the default as a value or as text."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return None
    empty = inspect.Parameter.empty
    return [
        [each.name, int(each.kind), each.default is not empty, None if each.default is empty else each.default,
         None if each.annotation is empty else inspect.formatannotation(each.annotation)]
        for each in parameters
    ]  # fmt: skip


@cache
def has_state(kind: Any) -> bool:
    """Return whether the driver may want to compare instances by what they hold."""
    return any(base in mro(kind) for base in VALUE_BASES) or _equality(kind) in ("fields", "own")


def state(thing: Any) -> tuple[object, dict[str, object]]:
    """Return the content of an object with a built-in base, and its attributes, without running its code."""
    kind = type(thing)
    base = next((base for base in (*VALUE_BASES, *CONTENT_BASES) if base in mro(kind)), None)
    return (None if base is None else content(thing, base)), dict(_attributes(thing, kind))


def content(thing: Any, base: type) -> object:
    """Return an object as a value of the built-in type that it is derived from, read by that type's own methods."""
    if base in (int, bool):
        return int.__index__(thing)
    if base is dict:
        return dict(dict.items(thing))
    if base is str:
        return str.__str__(thing)
    if base is float:
        return float.__float__(thing)
    if base is complex:
        return complex.__pos__(thing)
    return base(base.__iter__(thing))  # type: ignore[attr-defined]  # the others are iterable


def _attributes(thing: object, kind: type) -> Iterator[tuple[str, object]]:
    """Yield the attributes of an instance: of its dict, and of the slots of its classes."""
    for each in reversed(mro(kind)):
        for name, member in own_names(each).items():
            if type(member).__name__ == "member_descriptor" and each.__module__ != "builtins":
                with suppress(AttributeError):
                    yield name, member.__get__(thing)
    with suppress(AttributeError):
        attributes = object.__getattribute__(thing, "__dict__")
        if type(attributes) is dict:
            yield from attributes.items()


def is_own_method(thing: object, holder: object, name: str) -> bool:
    """Return whether an attribute is the holder's method of that name, which the driver may call by name."""
    return type(thing) is MethodType and thing.__self__ is holder and thing.__name__ == name
