"""Compares answers to expected values. Both are plain values, so no code of a program runs here.

What counts as equal, strict where a test does not ask for more:

- a number equals numbers of its own type; with a tolerance an int and a float are compared, and in Python's way bool,
  int, float, Decimal and Fraction are, exactly. A complex number equals only a complex one, and NaN equals NaN;
- values of other types equal only values of their own type, also inside containers and as keys;
- words of an output are separated by ASCII white space, and equal by their characters. With a tolerance, finite decimal
  numbers in ASCII digits are compared as numbers.

Time is linear in the values, or n log n where a test sorts: keys of an answer are looked up in the expected value and
never the other way around, because a program may have chosen them for their hashes.
"""

import math
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from reasonrl.errors import DataError
from reasonrl_sandbox.child.codec import MAX_SAME_HASH, KeyChecker, MalformedError

Conversion = Literal["abs", "bool", "float", "int", "len", "list", "set", "sorted", "str", "tuple"]
"""A built-in function that a test applies to an answer before the comparison."""

Relation = Literal["equal", "truthy", "falsy"]
"""What is asked of an answer: that it equals the expected value, or that it is true or false as a condition."""

Numbers = Literal["exact", "python"]
"""Whether numbers are equal only within one type, or as in Python, where 2 is 2.0 and True is 1."""


@dataclass(frozen=True, slots=True)
class ComparisonRules:
    """How answers are compared. By default types are exact: True is not 1, 1 is not 1.0, a tuple is not a list."""

    relation: Relation = "equal"
    """What the answer has to be."""
    conversions: tuple[Conversion, ...] = ()
    """Functions applied to the answer first, the innermost first; the expected value is compared to their result."""
    numbers: Numbers = "exact"
    """How numbers compare.

    Asserts are written for Python's way: one of MBPP's own solutions answers 0 where its test says False. A tolerance
    compares int and float with each other, never bool, in either way.
    """
    tuple_is_list: bool = False
    """Whether a tuple equals a list of the same items, for expected values from JSON, which has no tuples."""
    abs_tol: float = 0.0
    """How far a number may be off."""
    rel_tol: float = 0.0
    """How far a number may be off, as a share of the larger of the two."""

    def __post_init__(self) -> None:
        """Refuse what cannot be compared by."""
        check_tolerance("abs_tol", self.abs_tol)
        check_tolerance("rel_tol", self.rel_tol)


def is_tolerance(number: float) -> bool:
    """Return whether a number can be a tolerance: finite, 0 or more."""
    return 0 <= number <= sys.float_info.max


def check_tolerance(name: str, number: float) -> None:
    """Refuse a number that cannot be a tolerance.

    Raises:
        DataError: It cannot.
    """
    if not is_tolerance(number):
        raise DataError(f"{name!r} is {number!r:.40}; use a finite number, 0 or more.")


def matches(answer: object, expected: object, comparison: ComparisonRules) -> bool:
    """Return whether an answer is what a test expects."""
    try:
        for name in comparison.conversions:
            answer = _CONVERSIONS[name](answer)
    except (TypeError, ValueError, ArithmeticError):
        return False
    if comparison.relation == "equal":
        return _same(answer, expected, comparison)
    return bool(answer) == (comparison.relation == "truthy")


def _checked_set(items: Any) -> set[Any]:
    """Return the different ones of some items, which a program may have chosen for their hashes."""
    with_hash, checker, began_s = dict[int, list[Any]](), KeyChecker(), time.thread_time()
    for number, item in enumerate(items):
        same = with_hash.setdefault(hash(item), [])
        if item not in same:
            same.append(item)
        if len(same) > MAX_SAME_HASH or checker.is_late(number, began_s):
            raise MalformedError("items that were chosen for their hashes")
    return {item for same in with_hash.values() for item in same}


# Any: applied to plain values of any type; a TypeError is caught.
_CONVERSIONS: Mapping[Conversion, Callable[[Any], object]] = {
    "abs": abs,
    "bool": bool,
    "float": float,
    "int": int,
    "len": len,
    "list": list,
    "set": _checked_set,
    "sorted": sorted,
    "str": str,
    "tuple": tuple,
}


_NUMBERS = (int, float, complex, bool, Decimal, Fraction)


# Any: plain values of any type; each branch has checked it.
def _same(answer: Any, expected: Any, comparison: ComparisonRules) -> bool:
    """Return whether two plain values are equal under the rules for numbers and sequences."""
    if type(expected) in _NUMBERS and type(answer) in _NUMBERS:
        return _same_number(answer, expected, comparison)
    if type(expected) in (list, tuple):
        return _same_sequence(answer, expected, comparison)
    if type(expected) in (set, frozenset):
        kinds = (set, frozenset) if comparison.numbers == "python" else (type(expected),)
        return type(answer) in kinds and _same_keys(answer, expected, comparison)
    if type(answer) is not type(expected):
        return False
    if type(expected) is dict:
        return _same_keys(answer, expected, comparison) and all(
            _same(item, expected[key], comparison) for key, item in answer.items()
        )
    return bool(answer == expected)


def _same_number(answer: Any, expected: Any, comparison: ComparisonRules) -> bool:
    """Compare two numbers. NaN equals NaN, and an infinity equals only itself, whatever the tolerance."""
    tolerant = comparison.abs_tol > 0 or comparison.rel_tol > 0
    if not _are_comparable(type(answer), type(expected), comparison, tolerant):
        return False
    try:
        if answer == expected or (answer != answer and expected != expected):
            return True
        return tolerant and type(expected) in (int, float, complex) and _near(answer, expected, comparison)
    except ArithmeticError:  # an integer larger than every float, or a Decimal that signals
        return False


def _are_comparable(answer: type, expected: type, comparison: ComparisonRules, tolerant: bool) -> bool:
    """Return whether numbers of two types may be equal."""
    if answer is expected:
        return True
    if tolerant:
        return {answer, expected} == {int, float}
    return comparison.numbers == "python" and complex not in (answer, expected)


def _near(answer: complex, expected: complex, comparison: ComparisonRules) -> bool:
    """Return whether two finite numbers are within the tolerance."""
    apart, larger = abs(answer - expected), max(abs(answer), abs(expected))
    return math.isfinite(larger) and apart <= max(comparison.abs_tol, comparison.rel_tol * larger)


def _same_sequence(answer: Any, expected: Any, comparison: ComparisonRules) -> bool:
    """Compare lists and tuples item by item."""
    kinds = (list, tuple) if comparison.tuple_is_list else (type(expected),)
    if type(answer) not in kinds or len(answer) != len(expected):
        return False
    return all(_same(*pair, comparison) for pair in zip(answer, expected, strict=True))


def _same_keys(answer: Any, expected: Any, comparison: ComparisonRules) -> bool:
    """Compare the items of sets or the keys of dicts, in any order, without tolerance."""
    if len(answer) != len(expected):
        return False
    exact = replace(comparison, abs_tol=0.0, rel_tol=0.0)
    wanted = {key: key for key in expected}
    return all(key in wanted and _same(key, wanted[key], exact) for key in answer)


_SPACE = " \t\n\r\f\v"

_WORDS = re.compile(f"[^{_SPACE}]+")

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:(\.)[0-9]*)?|(\.)[0-9]+)(?:(e)[+-]?[0-9]+)?", re.IGNORECASE)

MAX_DIGITS = 4300
"""Characters of the longest word that is read as a number, Python's own limit for integers."""


def same_tokens(stdout: str, expected: str, *, abs_tol: float = 0.0, rel_tol: float = 0.0) -> bool:
    """Compare outputs word by word, ignoring ASCII white space; numbers may be off by the tolerance.

    All words count: a prefix of the expected output does not pass, and neither does more than it.
    """
    given, wanted = _WORDS.findall(stdout), _WORDS.findall(expected)
    if given == wanted or len(given) != len(wanted) or not (abs_tol or rel_tol):
        return given == wanted
    within = ComparisonRules(abs_tol=abs_tol, rel_tol=rel_tol)
    return all(a == b or _same_word(a, b, within) for a, b in zip(given, wanted, strict=True))


def _same_word(given: str, wanted: str, within: ComparisonRules) -> bool:
    number, expected = _number(given), _number(wanted)
    return number is not None and expected is not None and _same_number(number, expected, within)


def _number(word: str) -> float | None:
    """Read a word as a finite number, if it is one; integers exactly, because a float may equal several of them."""
    found = _NUMBER.fullmatch(word) if len(word) <= MAX_DIGITS else None
    if found is None:
        return None
    number = float(word) if any(found.groups()) else int(word)
    return None if number in (math.inf, -math.inf) else number


def same_lines(stdout: str, expected: str) -> bool:
    """Compare outputs line by line, ignoring ASCII white space at the end of lines and empty lines at the end."""
    return _lines(stdout) == _lines(expected)


def _lines(text: str) -> list[str]:
    return [line.rstrip(_SPACE) for line in text.rstrip(_SPACE).split("\n")]
