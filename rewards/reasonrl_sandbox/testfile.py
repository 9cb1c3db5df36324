"""Reads tests from JSON, the format of `reasonrl sandbox run PROGRAM.py --tests TESTS.json`.

    {"calls": {"entry": "add", "cases": [{"args": [1, 2], "expected": 3}], "abs_tol": 1e-6}}
    {"stdio": [{"stdin": "1 2\\n", "stdout": "3\\n"}]}
    {"asserts": {"entry": "add", "source": "assert add(1, 2) == 3"}}
    {"file": {"source": "from solution import add\\ndef test_add():\\n    assert add(1, 2) == 3"}}

JSON has no tuples, so a list stands for either; other values that JSON lacks can be written in asserts.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from reasonrl.errors import DataError, and_known, did_you_mean
from reasonrl_sandbox.compare import ComparisonRules
from reasonrl_sandbox.forms import AssertTests, CallTests, Case, FileTests, StdioCase, StdioTests, Tests

_Made = TypeVar("_Made")

_NAMES = {str: "a string", list: "a list", dict: "an object", bool: "true or false", float: "a number"}


def read_tests(given: Mapping[str, Any] | Path | str) -> Tests:
    """Read tests from JSON: a file's path, or what was parsed from one. Any: JSON of any shape, until it is checked.

    Raises:
        DataError: It cannot be read; says which file and key, and what to do.
    """
    if isinstance(given, Mapping):
        return _tests(_Node(given, "tests"))
    path = Path(given)
    try:
        return _tests(_Node(json.loads(path.read_text(encoding="utf-8")), str(path)))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON: {error}.") from None


class _Node:
    """A piece of JSON, and where it was found."""

    def __init__(self, content: Any, where: str) -> None:
        self.content = content
        self.where = where

    def fail(self, why: str) -> DataError:
        return DataError(f"{self.where}: {why}")

    def made(self, make: Callable[..., _Made], *args: object, **settings: object) -> _Made:
        """Return what a class makes of this; its error gets the position in the file."""
        try:
            return make(*args, **settings)
        except DataError as error:
            raise self.fail(str(error)) from None

    def object(self, required: Sequence[str], optional: Sequence[str] = ()) -> "_Node":
        """Check that this is an object with these keys and no others."""
        if not isinstance(self.content, Mapping):
            raise self.fail(f"must be an object with {_listed(required)}, not {_kind(self.content)}.")
        for key in required:
            if key not in self.content:
                raise self.fail(f"{key!r} is missing.")
        for key in self.content:
            if key not in (*required, *optional):
                raise self.fail(f"unknown key {key!r}.{and_known(key, (*required, *optional))}")
        return self

    # Any: the value under a key, of the kind asked for.
    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """Return the value under a key, which must be of a kind."""
        value = self.content.get(key, default)
        right = isinstance(value, kind) or (kind is float and isinstance(value, int) and not isinstance(value, bool))
        if not right:
            raise DataError(f"{self.where}: {key!r} must be {_NAMES[kind]}, not {_kind(value)}.")
        return value

    def under(self, key: str) -> "_Node":
        return _Node(self.content[key], f"{self.where}: {key}")

    def each(self) -> list["_Node"]:
        """Return the items of a list with at least one."""
        if not isinstance(self.content, list):
            raise self.fail(f"must be a list, not {_kind(self.content)}.")
        if not self.content:
            raise self.fail("is empty: a program that nothing tests would pass.")
        return [_Node(item, f"{self.where}[{index}]") for index, item in enumerate(self.content)]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)


def _kind(value: object) -> str:
    return next((name for kind, name in _NAMES.items() if type(value) is kind), f"{value!r:.40}")


def _tests(node: _Node) -> Tests:
    """Read whichever form there is."""
    content = node.content
    if not isinstance(content, Mapping) or len(content) != 1:
        raise node.fail(f"must be an object with one of the keys {', '.join(_FORMS)}.")
    (form,) = content
    if form not in _FORMS:
        raise node.fail(f"unknown form {form!r}.{did_you_mean(form, _FORMS)} Forms: {', '.join(_FORMS)}.")
    return _FORMS[form](node.under(form))


def _calls(node: _Node) -> CallTests:
    node.object(("entry", "cases"), ("abs_tol", "rel_tol"))
    abs_tol, rel_tol = _tolerances(node)
    comparison = node.made(ComparisonRules, tuple_is_list=True, abs_tol=abs_tol, rel_tol=rel_tol)
    return CallTests(node.get("entry", str), tuple(_case(case) for case in node.under("cases").each()), comparison)


def _case(node: _Node) -> Case:
    node.object(("expected",), ("args", "kwargs"))
    return Case(tuple(node.get("args", list, [])), node.get("kwargs", dict, {}), node.content["expected"])


def _stdio(node: _Node) -> StdioTests:
    """Read a list of cases, or an object with `cases` and how to compare."""
    if not isinstance(node.content, Mapping):
        return node.made(StdioTests, _stdio_cases(node))
    node.object(("cases",), ("compare", "abs_tol", "rel_tol"))
    compare = node.get("compare", str, "tokens")
    if compare not in ("tokens", "lines"):
        raise node.fail(f"'compare' is {compare!r}: use 'tokens' or 'lines'.")
    return node.made(StdioTests, _stdio_cases(node.under("cases")), compare, *_tolerances(node))


def _stdio_cases(node: _Node) -> tuple[StdioCase, ...]:
    cases = [case.object(("stdin", "stdout")) for case in node.each()]
    return tuple(StdioCase(case.get("stdin", str), case.get("stdout", str)) for case in cases)


def _tolerances(node: _Node) -> tuple[float, float]:
    return node.get("abs_tol", float, 0.0), node.get("rel_tol", float, 0.0)


def _asserts(node: _Node) -> AssertTests:
    node.object(("entry", "source"), ("setup", "allow_forgeable"))
    return AssertTests(
        node.get("entry", str),
        node.get("source", str),
        node.get("setup", str, ""),
        node.get("allow_forgeable", bool, False),
    )


def _file(node: _Node) -> FileTests:
    node.object(("source",), ("module", "allow_forgeable"))
    return FileTests(
        node.get("source", str), node.get("module", str, "solution"), node.get("allow_forgeable", bool, False)
    )


_FORMS: dict[str, Callable[[_Node], Tests]] = {"calls": _calls, "stdio": _stdio, "asserts": _asserts, "file": _file}
