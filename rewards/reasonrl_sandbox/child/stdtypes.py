"""The standard library's types of values as text: how an instance is taken apart, and built again from checked parts.

Every type is matched exactly, never by what a class says of itself. Building an instance calls a constructor of the
standard library only, with parts of the right types and of bounded size.
"""

import collections
import datetime
import decimal
import fractions
import pathlib
import re
import types
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_DIGITS = 10_000
"""Digits of a Decimal, its exponent, and hexadecimal digits of the parts of a Fraction: arithmetic stays fast."""

_DECIMAL = re.compile(r"[+-]?(?:(\d+)(?:\.(\d+))?(?:E([+-]?\d{1,6}))?|Infinity|s?NaN\d{0,9})", re.ASCII)
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,60}")

# Any: parts are plain values of any type until a builder has checked them.
Parts = tuple[Any, ...]


class StandardType(NamedTuple):
    """How values of one type are written and read."""

    kind: type
    """The type, which a value has exactly."""
    take_apart: Callable[[Any], Parts]
    """Returns the parts, which the codec writes in turn."""
    build: Callable[..., object]
    """Returns a value of its parts; raises ValueError or TypeError for parts that no value has."""


def _typed(*wanted: type | tuple[type, ...]) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Check the types of parts, exactly, before a constructor sees them."""

    def decorate(make: Callable[..., object]) -> Callable[..., object]:
        def build(*parts: object) -> object:
            for part, kinds in zip(parts, wanted, strict=True):
                if type(part) not in (kinds if isinstance(kinds, tuple) else (kinds,)):
                    raise TypeError(f"{type(part).__name__} is no part of such a value")
            return make(*parts)

        return build

    return decorate


@_typed(str)
def _decimal(text: str) -> object:
    found = _DECIMAL.fullmatch(text)
    if found is None or len(text) > MAX_DIGITS or abs(int(found[3] or 0)) > MAX_DIGITS:
        raise ValueError("a Decimal that is malformed or too large")
    return decimal.Decimal(text)


@_typed(int, int)
def _fraction(numerator: int, denominator: int) -> object:
    if denominator < 1 or max(numerator.bit_length(), denominator.bit_length()) > 4 * MAX_DIGITS:
        raise ValueError("a Fraction that is malformed or too large")
    return fractions.Fraction(numerator, denominator)


_NoneType = type(None)
_ZONES = (_NoneType, datetime.timezone, zoneinfo.ZoneInfo)


@_typed(datetime.timedelta, (str, _NoneType))
def _timezone(offset: datetime.timedelta, name: str | None) -> object:
    return datetime.timezone(offset) if name is None else datetime.timezone(offset, name)


@_typed(str)
def _zone(key: str) -> object:
    if not _ZONE.fullmatch(key):
        raise ValueError("no name of a time zone")
    return zoneinfo.ZoneInfo(key)


def _zone_name(zone: datetime.timezone) -> str | None:
    name = zone.tzname(None)
    return None if name == datetime.timezone(zone.utcoffset(None)).tzname(None) else name


_WHOLE = (int,) * 6


@_typed(*_WHOLE, int, _ZONES, int)
def _datetime(*parts: Any) -> object:
    *fields, fold = parts
    return datetime.datetime(*fields, fold=fold)


@_typed(int, int, int, int, _ZONES, int)
def _time(*parts: Any) -> object:
    *fields, fold = parts
    return datetime.time(*fields, fold=fold)


def _of_datetime(value: datetime.datetime) -> Parts:
    date = (value.year, value.month, value.day)
    return (*date, value.hour, value.minute, value.second, value.microsecond, value.tzinfo, value.fold)


def _of_time(value: datetime.time) -> Parts:
    return value.hour, value.minute, value.second, value.microsecond, value.tzinfo, value.fold


@_typed(int)
def _uuid(number: int) -> object:
    return uuid.UUID(int=number)


@_typed(list, (int, _NoneType))
def _deque(items: list[object], maxlen: int | None) -> object:
    return collections.deque(items, maxlen)


@_typed(bytes)
def _bytearray(content: bytes) -> object:
    return bytearray(content)


def _defaultdict(factory: object, items: dict[Any, Any]) -> object:
    if type(items) is not dict or not (factory is None or callable(factory)):
        raise TypeError("no parts of a defaultdict")
    return collections.defaultdict(factory, items)


def _namespace(items: dict[str, Any]) -> object:
    if type(items) is not dict or not all(type(key) is str for key in items):
        raise TypeError("no attributes of a namespace")
    return types.SimpleNamespace(**items)


def _view(name: str) -> StandardType:
    """Return how a view of a dict is written: as a dict that has it."""
    kind: type = type(getattr({}, name)())
    return StandardType(kind, lambda view: (_behind(view, name),), _typed(dict)(lambda items: getattr(items, name)()))


def _behind(view: Any, name: str) -> dict[Any, Any]:
    """Return a dict that has this view."""
    return dict(enumerate(view)) if name == "values" else dict(view) if name == "items" else dict.fromkeys(view)


_TYPES = (
    StandardType(decimal.Decimal, lambda value: (str(value),), _decimal),
    StandardType(fractions.Fraction, lambda value: (value.numerator, value.denominator), _fraction),
    StandardType(
        datetime.date, lambda value: (value.year, value.month, value.day), _typed(int, int, int)(datetime.date)
    ),
    StandardType(datetime.datetime, _of_datetime, _datetime),
    StandardType(datetime.time, _of_time, _time),
    StandardType(
        datetime.timedelta,
        lambda value: (value.days, value.seconds, value.microseconds),
        _typed(int, int, int)(datetime.timedelta),
    ),
    StandardType(datetime.timezone, lambda value: (value.utcoffset(None), _zone_name(value)), _timezone),
    StandardType(zoneinfo.ZoneInfo, lambda value: (value.key,), _zone),
    StandardType(uuid.UUID, lambda value: (value.int,), _uuid),
    StandardType(range, lambda value: (value.start, value.stop, value.step), _typed(int, int, int)(range)),
    StandardType(slice, lambda value: (value.start, value.stop, value.step), lambda *parts: slice(*parts)),
    StandardType(bytearray, lambda value: (bytes(value),), _bytearray),
    StandardType(collections.deque, lambda value: (list(value), value.maxlen), _deque),
    StandardType(collections.Counter, lambda value: (dict(value),), _typed(dict)(collections.Counter)),
    StandardType(collections.OrderedDict, lambda value: (dict(value),), _typed(dict)(collections.OrderedDict)),
    StandardType(collections.defaultdict, lambda value: (value.default_factory, dict(value)), _defaultdict),
    StandardType(types.MappingProxyType, lambda value: (dict(value),), _typed(dict)(types.MappingProxyType)),
    StandardType(types.SimpleNamespace, lambda value: (dict(vars(value)),), _namespace),
    StandardType(pathlib.PurePosixPath, lambda value: (str(value),), _typed(str)(pathlib.PurePosixPath)),
    StandardType(pathlib.PosixPath, lambda value: (str(value),), _typed(str)(pathlib.Path)),
    _view("keys"),
    _view("values"),
    _view("items"),
)

BY_KIND: dict[type, StandardType] = {each.kind: each for each in _TYPES}
"""Every type, by itself."""

BY_NAME: dict[str, StandardType] = {each.kind.__name__: each for each in _TYPES}
"""Every type, by its name."""

MUTABLE: tuple[type, ...] = (
    list, dict, set, bytearray, collections.deque, collections.Counter, collections.OrderedDict, collections.defaultdict
)  # fmt: skip
"""Types of containers whose content can change."""
