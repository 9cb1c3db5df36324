"""Compares answers to expected values. Both are plain values, so no code of a program runs here."""

import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from reasonrl.errors import DataError
from reasonrl_sandbox.child.codec import distinct_keys

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
    lets int and float mix, and leaves bool out.
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
    except (TypeError, ValueError, OverflowError):
        return False
    if comparison.relation == "equal":
        return _same(answer, expected, comparison)
    return bool(answer) == (comparison.relation == "truthy")


def _checked_set(items: Any) -> set[Any]:
    # A program could choose items with one hash, and building their set would take quadratic time.
    return set(distinct_keys(items))


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


_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBERS = {"exact": (int, float, complex), "python": (int, float, complex, bool)}


# Any: plain values of any type; each branch has checked it.
def _same(answer: Any, expected: Any, comparison: ComparisonRules) -> bool:
    """Return whether two plain values are equal under the rules for numbers and sequences."""
    if type(expected) in _NUMBERS[comparison.numbers] and type(answer) in _NUMBERS[comparison.numbers]:
        return _same_number(answer, expected, comparison)
    if type(expected) in (list, tuple):
        return _same_sequence(answer, expected, comparison)
    if type(expected) in (set, frozenset) and comparison.numbers == "python":
        return type(answer) in (set, frozenset) and _same_keys(answer, expected, comparison)
    if type(answer) is not type(expected):
        return False
    if type(expected) is dict:
        return _same_keys(answer, expected, comparison) and all(
            _same(answer[key], item, comparison) for key, item in expected.items()
        )
    if type(expected) in (set, frozenset):
        return _same_keys(answer, expected, comparison)
    return bool(answer == expected)


def _same_number(answer: complex, expected: complex, comparison: ComparisonRules) -> bool:
    """Compare two numbers. NaN equals NaN, and an infinity equals only itself, whatever the tolerance."""
    tolerant = comparison.abs_tol > 0 or comparison.rel_tol > 0
    if type(answer) is not type(expected) and not (comparison.numbers == "python" or tolerant):
        return False
    if answer == expected or (answer != answer and expected != expected):
        return True
    return tolerant and _near(answer, expected, comparison)


def _near(answer: complex, expected: complex, comparison: ComparisonRules) -> bool:
    """Return whether two finite numbers are within the tolerance."""
    try:
        apart, larger = abs(answer - expected), max(abs(answer), abs(expected))
        return math.isfinite(larger) and apart <= max(comparison.abs_tol, comparison.rel_tol * larger)
    except OverflowError:  # an integer larger than every float
        return False


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
    given = {key: key for key in answer}
    return all(key in given and _same(given[key], key, exact) for key in expected)


def same_tokens(stdout: str, expected: str, *, abs_tol: float = 0.0, rel_tol: float = 0.0) -> bool:
    """Compare outputs word by word, ignoring white space; numbers may be off by the tolerance.

    All words count: a prefix of the expected output does not pass, and neither does more than it.
    """
    given, wanted = stdout.split(), expected.split()
    if given == wanted or len(given) != len(wanted) or not (abs_tol or rel_tol):
        return given == wanted
    within = ComparisonRules(abs_tol=abs_tol, rel_tol=rel_tol)
    return all(a == b or _same_word(a, b, within) for a, b in zip(given, wanted, strict=True))


def _same_word(given: str, wanted: str, within: ComparisonRules) -> bool:
    try:
        return _same_number(_number(given), _number(wanted), within)
    except ValueError:
        return False


def _number(word: str) -> float:
    """Read a word as a number; integers exactly, because a float may equal several of them.

    Raises:
        ValueError: It is not a number, or overflows a float.
    """
    if _INTEGER.fullmatch(word):
        return int(word)
    number = float(word)
    if "_" in word or (math.isinf(number) and "inf" not in word.lower()):
        raise ValueError(word)
    return number


def same_lines(stdout: str, expected: str) -> bool:
    """Compare outputs line by line, ignoring white space at the end of lines and empty lines at the end."""
    return _lines(stdout) == _lines(expected)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]
