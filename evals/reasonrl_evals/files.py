"""A suite of one's own problems."""

from pathlib import Path
from typing import Final, Literal

from reasonrl import DataError, FindMetric, LoadHeldout, Suite
from reasonrl_evals.math_metrics import equal_answers
from reasonrl_grading.answers import MARKED, Source, as_number

MATHEMATICAL: Final = ("answer_match", "answer_within", "last_number", "number_in_answer", "olympiad_match")
"""Metrics whose answers are numbers or formulas: equal ones may be written in several ways."""


def jsonl(
    *,
    load: LoadHeldout,
    find_metric: FindMetric,
    path: str,
    metric: str,
    name: str | None = None,
    role: Literal["valid", "test"] = "valid",
    question: str = "question",
    answer: str = "answer",
    answer_pattern: str | None = None,
    messages: str | None = None,
    heldout_share: float = 0.0,
    sources: tuple[Source, ...] = MARKED,
) -> Suite:
    """Measure problems from a file with one JSON object a line; columns as in the task ``jsonl``.

    Args:
        load: gives held-out problems.
        find_metric: gives metrics by name.
        path: the file, from the current folder.
        metric: name of the metric, installed or ``./file.py:function``.
        name: of the suite; None takes the file's.
        role: whether figures may choose a checkpoint (``valid``) or not (``test``).
        question: column of the question.
        answer: column of the answer.
        answer_pattern: regular expression whose one group is the answer within its column.
        messages: column of a conversation, read in place of ``question``.
        heldout_share: as in the task that trains on this file; 0 measures on the whole file.
        sources: where the metric looks for the answer, in this order; those that look for one take them.

    Raises:
        DataError: an answer is not of the kind that the metric compares.
        PluginError: the metric takes no ``sources``, and they are set.
    """
    problems = load(
        "jsonl",
        path=path,
        question=question,
        answer=answer,
        answer_pattern=answer_pattern,
        messages=messages,
        heldout_share=heldout_share,
    )
    suite = Suite(
        name=Path(path).stem if name is None else name,
        role=role,
        problems=problems,
        metric=find_metric(metric, **({} if sources == MARKED else {"sources": sources})),
        template="chat",
        max_new_tokens=512,
        equal_answers=equal_answers if metric in MATHEMATICAL else None,
    )
    if metric in ("number_in_answer", "last_number"):
        _refuse_words(suite, metric)
    return suite


def _refuse_words(suite: Suite, metric: str) -> None:
    """Refuse answers that are no numbers where only numbers can be right."""
    words = [problem.answer for problem in suite.problems if as_number(problem.answer) is None]
    if words:
        raise DataError(
            f"suite {suite.name!r}: metric {metric!r} compares numbers, but {len(words)} of "
            f"{len(suite.problems)} answers are none, such as {words[0][:60]!r}. Cut the number out with "
            "answer_pattern, or use metric 'answer_match'."
        )
