"""HumanEval+ and MBPP+ (EvalPlus, arXiv:2305.01210): the problems of HumanEval and MBPP with many more tests."""

from collections.abc import Sequence
from typing import Final

from reasonrl import Problem, Split
from reasonrl_sandbox import evalplus
from reasonrl_tasks.benchmarks import heldout_problems, refuse_training
from reasonrl_tasks.program_rows import ProgramRow, keyed, program_rows, question_id
from reasonrl_tasks.programs import Ask, asked_to_complete
from reasonrl_tasks.sources import HubSource, read_source

HUMANEVAL_PLUS: Final = HubSource("evalplus/humanevalplus", split="test", files=("HumanEvalPlus*.jsonl*",))
MBPP_PLUS: Final = HubSource("evalplus/mbppplus", split="test", files=("MbppPlus*.jsonl*",))


def humaneval_plus(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    ask: Ask = "function",
) -> Sequence[Problem]:
    """Ask to complete the 164 functions of HumanEval, with the tests of HumanEval+.

    Args:
        split: ``heldout``; all of it is there to be measured on, and refused as training problems.
        seed: not used: there is nothing to draw.
        data: a file or folder that holds it, the authors' ``HumanEvalPlus.jsonl.gz`` or a copy of the hub's data set;
            null reads the hub.
        revision: commit, tag or branch of ``evalplus/humanevalplus``.
        ask: in words, for a chat (``function``), or by the beginning of the program alone (``body``).

    Raises:
        DataError: the data cannot be read, or a row cannot be used.
    """
    del seed
    refuse_training("humaneval_plus", split)
    rows = program_rows(read_source(HUMANEVAL_PLUS, data=data, revision=revision))
    problems = keyed(_humaneval_plus(row, ask) for row in rows)
    return heldout_problems(problems, "humaneval_plus")


def mbpp_plus(
    *,
    split: Split,
    seed: int,
    data: str | None = None,
    revision: str | None = None,
    shown_tests: int = 3,
) -> Sequence[Problem]:
    """Ask for the 378 functions of MBPP+, most of them test problems of MBPP.

    Args:
        split: ``heldout``; all of it is there to be measured on, and refused as training problems.
        seed: not used: there is nothing to draw.
        data: a file or folder that holds it, the authors' ``MbppPlus.jsonl.gz`` or a copy of the hub's data set; null
            reads the hub.
        revision: commit, tag or branch of ``evalplus/mbppplus``.
        shown_tests: tests of MBPP that the prompt shows, so that it says what the function is called; where the
            authors' file has them in the prompt, that is shown as it is.

    Raises:
        DataError: the data cannot be read, or a row cannot be used.
    """
    del seed
    refuse_training("mbpp_plus", split)
    rows = program_rows(read_source(MBPP_PLUS, data=data, revision=revision))
    problems = keyed(_mbpp_plus(row, shown_tests) for row in rows)
    return heldout_problems(problems, "mbpp_plus")


def _humaneval_plus(row: ProgramRow, ask: Ask) -> Problem:
    stub = row.text("prompt")
    return Problem(
        id=question_id(stub),
        task="humaneval_plus",
        prompt=asked_to_complete(stub, ask),
        answer=stub + row.text("canonical_solution"),
        meta={"tests": row.tests(evalplus.humaneval_plus), "stub": stub, "task_id": row.text("task_id")},
    )


def _mbpp_plus(row: ProgramRow, shown_tests: int) -> Problem:
    """Make a problem; the authors' file has its question and an assert in a docstring."""
    question = row.text("prompt").strip().removeprefix('"""').removesuffix('"""').strip()
    listed = row.columns.get("test_list")
    shown = listed[:shown_tests] if isinstance(listed, list) and all(isinstance(test, str) for test in listed) else []
    tests = "\n".join(shown)
    return Problem(
        id=question_id(question.partition("\nassert ")[0]),
        task="mbpp_plus",
        prompt=f"{question}\nYour code should pass tests such as:\n\n{tests}" if tests else question,
        answer=row.text("canonical_solution", "code"),
        meta={"tests": row.tests(evalplus.mbpp_plus), "task_id": row.columns.get("task_id")},
    )
