"""What the tasks of programs share: a row's columns and tests, and the problem that is made of them.

The tests stand in ``meta["tests"]`` for the reward ``unit_tests``. Nothing in a row is run or unpickled to read it.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar

from reasonrl import DataError, Problem, digest
from reasonrl_sandbox import AssertTests, CallTests, ProgramLimits, StdioTests, Tests, as_calls
from reasonrl_tasks.columns import Row

GIVEN: Final = (
    "from typing import *\n"
    "import bisect, collections, functools, heapq, itertools, math, random, re, string\n"
    "from collections import Counter, OrderedDict, defaultdict, deque\n"
    "from functools import cache, lru_cache\n"
    "from heapq import heapify, heappop, heappush\n"
)
"""Stands before a function of APPS, TACO or LiveCodeBench: their programs use these names without importing them."""

MAX_LIMITS: Final = ProgramLimits(cpu_s=300.0, memory_mib=8192)
"""The most that a row may let a program use."""

MIN_MEMORY_MIB: Final = 512
"""Least memory of a program: the sandbox limits address space, of which an interpreter takes more than memory."""

CALLS_FACTOR: Final = 5.0
"""How many times the limit of one test the calls of a function have together, because they share a process."""

Unusable: TypeAlias = Literal["refuse", "skip"]
"""What becomes of a row whose tests cannot be used."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProgramRow:
    """A row."""

    where: str
    """File and line, or data set and row, for messages."""
    columns: Mapping[str, Any]
    """Any: whatever the source holds."""

    def text(self, *names: str) -> str:
        """Return the first of several columns that is there, as text."""
        value = next((self.columns[name] for name in names if name in self.columns), None)
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{self.where}: column {names[0]!r} must be text, not {value!r:.40}.")
        return value

    def tests(self, read: Callable[[Mapping[str, Any]], Tests]) -> Tests:
        """Read the tests, asserts as calls where these test the same. Any: as above."""
        try:
            tests = read(self.columns)
            return (as_calls(tests) or tests) if isinstance(tests, AssertTests) else tests
        except DataError as error:
            raise DataError(f"{self.where}: {error}") from None

    def usable(self, make: Callable[[], T], unusable: Unusable) -> T | None:
        """Return what is made of the row; None where it cannot be used and is to be passed over."""
        try:
            return make()
        except DataError as error:
            if unusable == "skip":
                return None
            raise DataError(f"{error} Set unusable: skip to pass over such rows.") from None

    def others(self, used: Collection[str]) -> dict[str, Any]:
        """Return the columns that are not used. Any: as above."""
        return {name: value for name, value in self.columns.items() if name not in used}


def program_rows(rows: Iterable[Row]) -> Iterator[ProgramRow]:
    """Yield rows with their columns."""
    return (ProgramRow(*row) for row in rows)


def asked_with_starter(asked: str, starter: object, tests: Tests, *, says_stdio: bool = True) -> str:
    """Return a question with the code to begin with, or with what a whole program reads and writes."""
    if isinstance(starter, str) and starter.strip():
        return f"{asked}\n\nBegin with:\n\n```python\n{starter}\n```"
    if says_stdio and isinstance(tests, StdioTests):
        return f"{asked}\n\nRead the input from standard input and write the answer to standard output."
    return asked


def stub_of(tests: Tests) -> dict[str, str]:
    """Return what stands before a program, as an item of ``meta``."""
    return {"stub": GIVEN} if isinstance(tests, CallTests) else {}


def limits_of(where: str, tests: Tests, *, cpu_s: float, memory_mib: float | None = None) -> dict[str, float]:
    """Return ``meta["limits"]`` for a limit of one test.

    Raises:
        DataError: it is more than a row may ask for, or no limit.
    """
    times = CALLS_FACTOR if isinstance(tests, CallTests) else 1.0
    if not 0 < cpu_s * times <= MAX_LIMITS.cpu_s or not 0 < (memory_mib or 1) <= MAX_LIMITS.memory_mib:
        raise DataError(
            f"{where}: a limit of {cpu_s:.6g} s and {memory_mib or 0:.6g} MiB; at most {MAX_LIMITS.cpu_s / times:g} s "
            f"and {MAX_LIMITS.memory_mib} MiB can be used."
        )
    memory = {} if memory_mib is None else {"memory_mib": max(MIN_MEMORY_MIB, int(memory_mib))}
    return {"cpu_s": cpu_s * times, **memory}


def first_solution(column: Any) -> str:
    """Return the first of a row's solutions, or nothing. Any: a list, or the text of one in JSON."""
    try:
        solutions = json.loads(column) if isinstance(column, str) and column.strip() else column
    except (ValueError, RecursionError):
        return ""
    return solutions[0] if isinstance(solutions, list) and solutions and isinstance(solutions[0], str) else ""


def question_id(question: str) -> str:
    """Return the same id whatever the case and white space."""
    return digest("program", " ".join(question.split()).casefold())


def keyed(problems: Iterable[Problem | None]) -> Iterator[tuple[str, Problem]]:
    """Yield problems after what decides their split; None stands for a row that was passed over."""
    return ((problem.id, problem) for problem in problems if problem is not None)


def is_wanted(row: ProgramRow, column: str, wanted: Collection[str], known: Collection[str]) -> bool:
    """Say whether a column's value, such as a difficulty, is among the wanted ones; none wanted takes all.

    Raises:
        DataError: the row has none that is known.
    """
    if not wanted:
        return True
    value = row.columns.get(column)
    if value not in known:
        raise DataError(f"{row.where}: column {column!r} must be one of {', '.join(known)}, not {value!r:.40}.")
    return value in wanted
