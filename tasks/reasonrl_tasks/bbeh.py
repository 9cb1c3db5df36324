"""BIG-Bench Extra Hard (arXiv:2502.19187): 23 tasks of reasoning with short answers."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from reasonrl import DataError, Problem, Split, digest
from reasonrl_tasks.benchmarks import heldout_problems, refuse_training
from reasonrl_tasks.columns import Row
from reasonrl_tasks.sources import HubSource, read_source

SOURCE: Final = HubSource("BBEH/bbeh", files=("bbeh*.json*", "bbeh*.parquet"))

SUFFIX: Final = (
    'Think step by step, and when you provide the final answer, please use the prefix "The answer is:" without any '
    "modification, and provide the answer directly, with no formatting, no bolding, and no markup. For instance: "
    '"The answer is: 42" or "The answer is: yes". If the question is multiple choice with a single correct answer, the '
    "final answer must only be the letter corresponding to the correct answer. For example, "
    '"The answer is: (a)".'
)
"""The end of every prompt, in the words of the paper's appendix."""


def bbeh(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    subset: Literal["all", "mini"] = "all",
    task: tuple[str, ...] = (),
) -> Sequence[Problem]:
    """Ask the 4,520 questions of BIG-Bench Extra Hard, or the 460 of its ``mini`` subset.

    Args:
        split: ``heldout``; all of it is there to be measured on, and refused as training problems.
        seed: not used: there is nothing to draw.
        data: a file or folder that holds it, such as the authors' ``benchmark_tasks``; null reads the hub.
        revision: commit, tag or branch of ``BBEH/bbeh``.
        subset: all questions, or those that the data marks as ``mini``.
        task: only these of its tasks, such as ``boolean expressions``; none takes all.

    Raises:
        DataError: the data cannot be read, a row cannot be used, or there is no such task.
    """
    del seed
    refuse_training("bbeh", split)
    problems = [_problem(where, row, subset) for where, row in _rows(data, revision)]
    named = {str(problem.meta["task"]) for problem in problems if problem is not None}
    unknown = [name for name in task if name not in named]
    if unknown:
        raise DataError(f"task 'bbeh': no task {unknown[0]!r} in the data. It has {', '.join(sorted(named))}.")
    chosen = ((p.id, p) for p in problems if p is not None and (not task or p.meta["task"] in task))
    return heldout_problems(chosen, "bbeh")


def _rows(data: str | None, revision: str | None) -> Iterator[Row]:
    """Yield rows with their task: the authors' folders, one a task, are named by it."""
    folders = [] if data is None else _by_task(Path(data).expanduser())
    for file in folders:
        name = file.parent.name.removeprefix("bbeh_").replace("_", " ")
        for where, row in read_source(SOURCE, data=str(file), revision=revision):
            yield where, {**row, "task": name}
    if not folders:
        yield from read_source(SOURCE, data=data, revision=revision)


def _by_task(place: Path) -> list[Path]:
    """Return the authors' files, one a task, that a folder holds or a file is."""
    found = [place] if place.is_file() else sorted(place.rglob("task.json"))
    return [file for file in found if file.name == "task.json" and file.parent.name.startswith("bbeh_")]


def _problem(where: str, row: Any, subset: str) -> Problem | None:
    """Make a problem; None outside the subset. Any: a mapping of whatever the source holds."""
    question, answer = (_text(where, row, name) for name in ("input", "target"))
    if subset == "mini":
        if not isinstance(row.get("mini"), bool | int):
            raise DataError(f"{where}: column 'mini', which says what is in the subset, is {row.get('mini')!r:.20}.")
        if not row["mini"]:
            return None
    return Problem(
        id=digest("bbeh", " ".join(question.split()).casefold(), answer.casefold()),
        task="bbeh",
        prompt=f"{question}\n\n{SUFFIX}",
        answer=answer,
        meta={"task": row.get("task", "bbeh")},
    )


def _text(where: str, row: Any, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: column {name!r} must be text, not {value!r:.40}.")
    return value.strip()
