"""LiveCodeBench (arXiv:2403.07974): problems of contests by date, so that those after a model's data can be chosen."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final, Literal

from reasonrl import DataError, Problem, Split
from reasonrl_sandbox import Tests, formats
from reasonrl_tasks.benchmarks import heldout_problems, refuse_training
from reasonrl_tasks.columns import Row
from reasonrl_tasks.hub_files import read_json_source
from reasonrl_tasks.program_rows import (
    ProgramRow,
    Unusable,
    asked_with_starter,
    is_wanted,
    keyed,
    limits_of,
    program_rows,
    question_id,
    stub_of,
)
from reasonrl_tasks.sources import HubSource

FILES: Final = ("test.jsonl", "test2.jsonl", "test3.jsonl", "test4.jsonl", "test5.jsonl", "test6.jsonl")
"""Its releases 1 to 6: each file holds what a release added."""
SOURCE: Final = HubSource("livecodebench/code_generation_lite", split="test", files=("test*.jsonl*", "*.parquet"))

CPU_S: Final = 6.0
"""CPU seconds for one test, as its authors' own grader has it."""

DIFFICULTIES: Final = ("easy", "medium", "hard")
PLATFORMS: Final = ("leetcode", "codeforces", "atcoder")

_USED: Final = ("question_content", "starter_code", "public_test_cases", "private_test_cases")


def livecodebench(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    start: str | None = None,
    end: str | None = None,
    difficulty: tuple[Literal["easy", "medium", "hard"], ...] = (),
    platform: tuple[Literal["leetcode", "codeforces", "atcoder"], ...] = (),
    unusable: Unusable = "refuse",
) -> Sequence[Problem]:
    """Ask for the programs of LiveCodeBench's code generation, 1,055 problems in its six releases.

    Its private tests are a pickle of one text, which is read by its opcodes; another pickle is refused, and none is
    unpickled.

    Args:
        split: ``heldout``; all of it is there to be measured on, and refused as training problems.
        seed: not used: there is nothing to draw.
        data: a file or folder that holds it, such as one with ``test.jsonl`` to ``test6.jsonl``; null reads the hub.
        revision: commit, tag or branch of ``livecodebench/code_generation_lite``.
        start: only problems of contests on this day or later, such as ``2024-08-01``.
        end: only problems of contests on this day or before.
        difficulty: only problems of these; none takes all.
        platform: only problems from these; none takes all.
        unusable: what becomes of a row whose tests cannot be used.

    Raises:
        DataError: the data cannot be read, a row cannot be used, or ``start`` or ``end`` is no date.
    """
    del seed
    refuse_training("livecodebench", split)
    first, last = _day(start, "start"), _day(end, "end")
    rows = program_rows(_rows(data, revision))
    chosen = (row for row in rows if _is_between(row, first, last))
    chosen = (row for row in chosen if is_wanted(row, "difficulty", difficulty, DIFFICULTIES))
    chosen = (row for row in chosen if is_wanted(row, "platform", platform, PLATFORMS))
    problems = keyed(_problem(row, unusable) for row in chosen)
    return heldout_problems(problems, "livecodebench")


def _rows(data: str | None, revision: str | None) -> Iterator[Row]:
    """Yield the rows of all releases that a folder holds, in their order."""
    places: list[str | None] = [] if data is None else [*_releases(Path(data).expanduser())]
    for place in places or [data]:
        yield from read_json_source(SOURCE, FILES, data=place, revision=revision)


def _releases(folder: Path) -> list[str]:
    """Return the files of its releases that stand anywhere in a folder.

    Raises:
        DataError: one of them stands there twice.
    """
    found = {name: sorted(folder.rglob(name)) for name in FILES} if folder.is_dir() else {}
    for name, places in found.items():
        if len(places) > 1:
            raise DataError(
                f"{folder}: holds {name} more than once: {places[0]}, {places[1]}. Give one of the folders."
            )
    return [str(path) for places in found.values() for path in places]


def _day(text: str | None, name: str) -> date | None:
    """Read a date that is set."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise DataError(f"task 'livecodebench': {name} is {text!r}; use a date such as 2024-08-01.") from None


def _is_between(row: ProgramRow, first: date | None, last: date | None) -> bool:
    if first is None and last is None:
        return True
    value = row.columns.get("contest_date")
    try:
        held = date.fromisoformat(str(value)[:10])
    except ValueError:
        raise DataError(f"{row.where}: column 'contest_date' must be a date, not {value!r:.40}.") from None
    return (first is None or first <= held) and (last is None or held <= last)


def _problem(row: ProgramRow, unusable: Unusable) -> Problem | None:
    asked = row.text("question_content")
    tests: Tests | None = row.usable(lambda: row.tests(formats.livecodebench), unusable)
    if tests is None:
        return None
    return Problem(
        id=question_id(asked),
        task="livecodebench",
        prompt=asked_with_starter(asked, row.columns.get("starter_code"), tests),
        answer="",
        meta={
            **row.others(_USED),
            "tests": tests,
            "limits": limits_of(row.where, tests, cpu_s=CPU_S),
            **stub_of(tests),
        },
    )
