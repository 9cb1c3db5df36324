"""Prompts with instructions that a rule can verify: IFEval (arXiv:2311.07911) and IFBench (arXiv:2507.02833).

The instructions stand in ``meta["instruction_id_list"]`` and ``meta["kwargs"]``, as the reward ``instructions`` reads
those of IFEval. There is no right answer: ``answer`` is empty.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from reasonrl import DataError, Problem, Split, digest
from reasonrl_grading.instructions import IFBENCH, PUBLISHED, Checks, asked_of
from reasonrl_grading.languages import language_of
from reasonrl_tasks.benchmarks import heldout_problems, refuse_training
from reasonrl_tasks.columns import Row
from reasonrl_tasks.program_rows import Unusable
from reasonrl_tasks.sources import HubSource, read_source

IFEVAL: Final = HubSource("google/IFEval", files=("input_data.jsonl*", "ifeval*.jsonl*"))
IFBENCH_TEST: Final = HubSource("allenai/IFBench_test", files=("IFBench_test.jsonl*",))

_PROBE: Final = "Probe."
"""A response that every check must stand before any model is sampled from."""


def ifeval(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    unusable: Unusable = "refuse",
) -> Sequence[Problem]:
    """Ask for responses that follow one to three of IFEval's 25 kinds of instructions, in 541 prompts.

    Args:
        split: ``heldout``; all of it is there to be measured on, and refused as training problems.
        seed: not used: there is nothing to draw.
        data: a file or folder that holds it; null reads the hub.
        revision: commit, tag or branch of ``google/IFEval``.
        unusable: what becomes of a row with an instruction that is not known, or with other arguments than its own.

    Raises:
        DataError: the data cannot be read, or a row cannot be used.
        MissingExtraError: a language is to be told, and ``reasonrl[language]`` is not installed.
    """
    del seed
    refuse_training("ifeval", split)
    rows = read_source(IFEVAL, data=data, revision=revision)
    problems = _problems(rows, "ifeval", PUBLISHED, unusable)
    return heldout_problems(problems, "ifeval")


def ifbench(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    unusable: Unusable = "refuse",
) -> Sequence[Problem]:
    """Ask for responses that follow IFBench's instructions: 56 of its 58 kinds can be checked.

    Args:
        split: ``heldout``; all of it is there to be measured on, and refused as training problems.
        seed: not used: there is nothing to draw.
        data: a file or folder that holds it; null reads the hub.
        revision: commit, tag or branch of ``allenai/IFBench_test``.
        unusable: what becomes of a row with an instruction that cannot be checked (``words:start_verb``,
            ``words:odd_even_syllables``), or with other arguments than its own.

    Raises:
        DataError: the data cannot be read, or a row cannot be used.
    """
    del seed
    refuse_training("ifbench", split)
    rows = read_source(IFBENCH_TEST, data=data, revision=revision)
    problems = _problems(rows, "ifbench", IFBENCH, unusable)
    return heldout_problems(problems, "ifbench")


def _problems(rows: Iterator[Row], task: str, checks: Checks, unusable: Unusable) -> Iterator[tuple[str, Problem]]:
    for where, row in rows:
        try:
            problem = _problem(where, row, task)
            _require_checkable(where, problem, checks)
        except DataError as error:
            if unusable == "skip":
                continue
            raise DataError(f"{error} Set unusable: skip to pass over such rows.") from None
        yield problem.id, problem


def _problem(where: str, row: Any, task: str) -> Problem:
    """Make a problem. Any: a mapping of whatever the source holds."""
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f"{where}: column 'prompt' must be text, not {prompt!r:.40}.")
    return Problem(
        id=digest("instructions", " ".join(prompt.split()).casefold()),
        task=task,
        prompt=prompt,
        answer="",
        meta={name: value for name, value in row.items() if name != "prompt"},
    )


def _require_checkable(where: str, problem: Problem, checks: Checks) -> None:
    """Refuse instructions that are not known, or whose arguments are of other kinds than a check takes."""
    asked = asked_of(problem, checks)
    if isinstance(asked, str):
        raise DataError(f"{where}: {asked.rstrip('.')}.")
    for name, settings in asked:
        if "language" in name or "english" in name:
            language_of(_PROBE)  # names the extra that is missing
        try:
            checks[name](_PROBE, **settings)
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            raise DataError(f"{where}: instruction {name!r}: its arguments cannot be used: {error}.") from None
