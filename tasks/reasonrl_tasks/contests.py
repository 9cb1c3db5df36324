"""Programs for problems of programming contests: APPS, TACO and CodeContests."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

from reasonrl import DataError, Problem, Split
from reasonrl_sandbox import Tests, formats
from reasonrl_tasks.columns import of_one_split
from reasonrl_tasks.hub_files import read_json_source
from reasonrl_tasks.program_rows import (
    ProgramRow,
    Unusable,
    asked_with_starter,
    first_solution,
    is_wanted,
    keyed,
    limits_of,
    program_rows,
    question_id,
    stub_of,
)
from reasonrl_tasks.sources import HubSource, read_source

APPS_CPU_S: Final = 4.0
"""CPU seconds for one test of APPS, as its authors' own grader has it."""
TACO_CPU_S: Final = 4.0
"""CPU seconds for one test of TACO where a row sets none."""
CODECONTESTS_CPU_S: Final = 4.0
"""CPU seconds for one test of CodeContests where a row sets none."""

APPS_DIFFICULTIES: Final = ("introductory", "interview", "competition")
TACO_DIFFICULTIES: Final = ("EASY", "MEDIUM", "MEDIUM_HARD", "HARD", "VERY_HARD", "UNKNOWN_DIFFICULTY")
PYTHON3: Final = 3
"""The language of a solution of CodeContests."""

# Columns that become the problem, or that nothing needs: thousands of programs.
_USED: Final = ("question", "starter_code", "input_output", "solutions")
_USED_CONTESTS: Final = (
    *("description", "untranslated_description", "solutions", "incorrect_solutions"),
    *("public_tests", "private_tests", "generated_tests"),
)

_NUMBER = re.compile(r"\s*(\d{1,9}(?:\.\d{1,9})?)")
_UNITS_MIB: Final = {"bytes": 2**-20, "kilobytes": 2**-10, "megabytes": 1.0, "gigabytes": 1024.0}


def apps(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    difficulty: tuple[Literal["introductory", "interview", "competition"], ...] = (),
    unusable: Unusable = "refuse",
) -> Sequence[Problem]:
    """Ask for the programs of APPS (arXiv:2105.09938); its 5,000 test problems are held out.

    Args:
        split: ``train`` or ``heldout``, the data set's own ``train`` and ``test``.
        seed: not used: there is nothing to draw.
        data: a file or folder that holds it; null reads the hub.
        revision: commit, tag or branch of ``codeparrot/apps``.
        difficulty: only problems of these; none takes all.
        unusable: what becomes of a row whose tests cannot be used: some have none.

    Raises:
        DataError: the data cannot be read, or a row cannot be used.
    """
    del seed
    name = "train" if split == "train" else "test"
    source = HubSource("codeparrot/apps", split=name, files=(f"{name}.jsonl*", f"{name}*.parquet"))
    rows = program_rows(read_json_source(source, (f"{name}.jsonl",), data=data, revision=revision))
    chosen = (row for row in rows if is_wanted(row, "difficulty", difficulty, APPS_DIFFICULTIES))
    problems = keyed(_listed(row, "apps", unusable, _apps_limits) for row in chosen)
    return of_one_split(problems, split=split, heldout_share=0.0, where="task 'apps'")


def taco(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    difficulty: tuple[Literal["EASY", "MEDIUM", "MEDIUM_HARD", "HARD", "VERY_HARD", "UNKNOWN_DIFFICULTY"], ...] = (),
    unusable: Unusable = "refuse",
) -> Sequence[Problem]:
    """Ask for the programs of TACO (arXiv:2312.14852); its 1,000 test problems are held out.

    Tags stay texts: the data set's own card runs them through ``eval``.

    Args:
        split: ``train`` or ``heldout``, the data set's own ``train`` and ``test``.
        seed: not used: there is nothing to draw.
        data: a file or folder that holds it; null reads the hub.
        revision: commit, tag or branch of ``BAAI/TACO``.
        difficulty: only problems of these; none takes all.
        unusable: what becomes of a row whose tests cannot be used.

    Raises:
        DataError: the data cannot be read, or a row cannot be used.
    """
    del seed
    name = "train" if split == "train" else "test"
    source = HubSource("BAAI/TACO", split=name, files=(f"{name}.jsonl*", f"{name}*.parquet"))
    rows = program_rows(read_json_source(source, (), data=data, revision=revision))
    chosen = (row for row in rows if is_wanted(row, "difficulty", difficulty, TACO_DIFFICULTIES))
    problems = keyed(_listed(row, "taco", unusable, _taco_limits) for row in chosen)
    return of_one_split(problems, split=split, heldout_share=0.0, where="task 'taco'")


def codecontests(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    heldout: Literal["valid", "test"] = "test",
    tests: tuple[Literal["public", "private", "generated"], ...] = ("public", "private", "generated"),
    min_rating: int | None = None,
    max_rating: int | None = None,
    unusable: Unusable = "refuse",
) -> Sequence[Problem]:
    """Ask for the programs of CodeContests (arXiv:2203.07814), within the time that each problem allows.

    Args:
        split: ``train``, or ``heldout``, one of the data set's own.
        seed: not used: there is nothing to draw.
        data: a file or folder that holds it; null reads the hub.
        revision: commit, tag or branch of ``deepmind/code_contests``.
        heldout: which of its splits is held out: ``valid`` has 117 problems, ``test`` 165.
        tests: which of its tests are run.
        min_rating: only problems with at least this rating on Codeforces; those without one are left out.
        max_rating: only problems with at most this rating there, as before.
        unusable: what becomes of a row whose tests cannot be used: some programs read and write files.

    Raises:
        DataError: the data cannot be read, or a row cannot be used.
    """
    del seed
    if not tests:
        raise DataError("task 'codecontests': tests is empty, so nothing would be tested.")
    name = "train" if split == "train" else heldout
    source = HubSource("deepmind/code_contests", split=name, files=(f"{name}.jsonl*", f"{name}*.parquet"))
    rows = program_rows(read_source(source, data=data, revision=revision))
    chosen = (row for row in rows if _is_rated(row, min_rating, max_rating))
    problems = keyed(_described(row, tests, unusable) for row in chosen)
    return of_one_split(problems, split=split, heldout_share=0.0, where="task 'codecontests'")


def _listed(
    row: ProgramRow, task: str, unusable: Unusable, limits: Callable[[ProgramRow, Tests], Mapping[str, float]]
) -> Problem | None:
    """Make a problem of a row of APPS or TACO."""
    asked = row.text("question")
    made = row.usable(lambda: _with_limits(row, row.tests(formats.apps), limits), unusable)
    if made is None:
        return None
    tests, own = made
    return Problem(
        id=question_id(asked),
        task=task,
        prompt=asked_with_starter(asked, row.columns.get("starter_code"), tests),
        answer=first_solution(row.columns.get("solutions")),
        meta={**row.others(_USED), "tests": tests, "limits": own, **stub_of(tests)},
    )


def _described(row: ProgramRow, kinds: Sequence[str], unusable: Unusable) -> Problem | None:
    """Make a problem of a row of CodeContests."""
    asked = row.text("description")
    read = partial(formats.codecontests, kinds=kinds)
    made = row.usable(lambda: _with_limits(row, row.tests(read), _codecontests_limits), unusable)
    if made is None:
        return None
    tests, own = made
    return Problem(
        id=question_id(asked),
        task="codecontests",
        prompt=asked_with_starter(asked, None, tests),
        answer=_python_solution(row.columns.get("solutions")),
        meta={**row.others(_USED_CONTESTS), "tests": tests, "limits": own},
    )


def _with_limits(
    row: ProgramRow, tests: Tests, limits: Callable[[ProgramRow, Tests], Mapping[str, float]]
) -> tuple[Tests, Mapping[str, float]]:
    return tests, limits(row, tests)


def _apps_limits(row: ProgramRow, tests: Tests) -> Mapping[str, float]:
    return limits_of(row.where, tests, cpu_s=APPS_CPU_S)


def _taco_limits(row: ProgramRow, tests: Tests) -> Mapping[str, float]:
    """Read `2.0 seconds` and `256.0 megabytes`."""
    cpu_s = _amount(row, "time_limit", {"seconds": 1.0, "second": 1.0, "ms": 0.001, "milliseconds": 0.001})
    memory_mib = _amount(row, "memory_limit", _UNITS_MIB)
    return limits_of(row.where, tests, cpu_s=cpu_s or TACO_CPU_S, memory_mib=memory_mib)


def _amount(row: ProgramRow, column: str, units: Mapping[str, float]) -> float | None:
    """Return a limit in the unit with factor 1; None where the row has none that can be read."""
    text = row.columns.get(column)
    found = _NUMBER.match(text) if isinstance(text, str) else None
    if found is None or not isinstance(text, str):
        return None
    factor = units.get(text[found.end() :].strip().casefold())
    return float(found[1]) * factor or None if factor is not None else None


def _codecontests_limits(row: ProgramRow, tests: Tests) -> Mapping[str, float]:
    """Read `{"seconds": 2, "nanos": 0}` and a number of bytes."""
    cpu_s, num_bytes = _seconds(row), row.columns.get("memory_limit_bytes")
    memory_mib = num_bytes / 2**20 if isinstance(num_bytes, int) and num_bytes > 0 else None
    return limits_of(row.where, tests, cpu_s=cpu_s or CODECONTESTS_CPU_S, memory_mib=memory_mib)


def _seconds(row: ProgramRow) -> float | None:
    """Return the time limit of a row of CodeContests, where it has one."""
    match row.columns.get("time_limit"):
        case {"seconds": int() | None as seconds, "nanos": int() | None as nanos}:
            return min((seconds or 0) + (nanos or 0) / 1e9, 1e9) or None
        case int() | float() as seconds:
            return float(min(seconds, 1e9)) or None
    return None


def _is_rated(row: ProgramRow, least: int | None, most: int | None) -> bool:
    if least is None and most is None:
        return True
    rating = row.columns.get("cf_rating")
    return isinstance(rating, int) and rating > 0 and (least or 0) <= rating and (most is None or rating <= most)


def _python_solution(column: Any) -> str:
    """Return the first solution in Python 3, or nothing. Any: an object of lists, or a list of objects."""
    match column:
        case {"language": list() as languages, "solution": list() as solutions}:
            pairs = list(zip(languages, solutions, strict=False))
        case list():
            pairs = [(one.get("language"), one.get("solution")) for one in column if isinstance(one, Mapping)]
        case _:
            return ""
    return next((text for language, text in pairs if language in (PYTHON3, "PYTHON3") and isinstance(text, str)), "")
