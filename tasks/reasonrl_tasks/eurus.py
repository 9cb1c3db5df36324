"""Eurus-2 of PRIME (arXiv:2502.01456): mathematics with an answer, and programs with tests, in the rows of verl."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal

from reasonrl import Problem, Split
from reasonrl_tasks.columns import Row, of_one_split
from reasonrl_tasks.published import Place, Unusable, Wording, named, rows_of, usable, without
from reasonrl_tasks.schemas import is_program, verl_problem
from reasonrl_tasks.sources import HubSource

TRAIN: Final = (HubSource("PRIME-RL/Eurus-2-RL-Data", None, "train"),)
VALIDATION: Final = (HubSource("PRIME-RL/Eurus-2-RL-Data", None, "validation"),)

AROUND: Final = (
    ("", "\n\nPresent the answer in LaTex format: \\boxed{Your answer}"),
    (
        "",
        "\n\nWrite Python code to solve the problem. Present the code in \n```python\nYour code\n```\nat the end.",
    ),
)
"""The instructions after its questions."""


def eurus2(
    *,
    split: Split,
    seed: int,
    part: Literal["math", "code", "both"] = "both",
    data: str | None = None,
    revision: str | None = None,
    unusable: Unusable = "refuse",
    wording: Wording = "question",
) -> Sequence[Problem]:
    """Ask the problems of PRIME-RL/Eurus-2-RL-Data; its own validation split is held out.

    A problem of the code part has its tests in ``meta["tests"]``, for the reward ``unit_tests``; where a problem comes
    from stands in ``meta["data_source"]`` and ``meta["ability"]``.

    Args:
        split: ``train`` or ``heldout``.
        seed: not used: the data is fixed, so there is nothing to draw.
        part: problems with an answer, with tests, or both.
        data: a file or folder with the data, in place of the hub.
        revision: commit, tag or branch on the hub.
        unusable: what becomes of a row to train on whose answer or tests cannot be used.
        wording: the ``question`` alone, or as ``published``, with its instructions and system message.

    Raises:
        DataError: the data cannot be read, or a row cannot be used.
    """
    del seed
    copies = TRAIN if split == "train" else VALIDATION
    with named("eurus2"):
        place = Place(data=data, revision=revision, hub_name=None)
        rows = _of_part(rows_of(copies, place), part)
        keyed = usable((lambda row: _problem(row, wording)), rows, unusable if split == "train" else None)
        return of_one_split(keyed, split=split, heldout_share=0.0, where=data or copies[0].name)


def _of_part(rows: Iterator[Row], part: str) -> Iterator[Row]:
    return (row for row in rows if part == "both" or is_program(row[1]) == (part == "code"))


def _problem(row: Row, wording: Wording) -> tuple[str, Problem]:
    """Return what decides the split, and the problem, whose id is that of the question alone."""
    key, problem = verl_problem("eurus2", row, plain=lambda text: without(text, AROUND))
    if wording == "question":
        return key, problem
    published = verl_problem("eurus2", row)[1]
    return key, replace(problem, prompt=published.prompt, messages=published.messages)
