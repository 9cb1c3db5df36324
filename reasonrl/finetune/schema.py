"""From the rows of TRL's schemas, and of ``reasonrl sample``, to what finetuning learns from.

A row with a column ``template`` has a prompt that this template made; it is used as it is. A row without it has a
question, which the run's template renders.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from reasonrl.config.kinds import KindName
from reasonrl.errors import DataError, and_known
from reasonrl.finetune.rows import Demonstration, JudgedCompletion, PreferencePair, Row
from reasonrl.preference.data import LabeledCompletion, Pair
from reasonrl.preference.schema import (
    NOT_RENDERED,
    completion_of,
    examples_of,
    messages_of,
    problem_of,
    prompt_of,
    required_column,
)
from reasonrl.types import Problem

Columns: TypeAlias = Mapping[str, Any]
"""A row of a source by column. Any: they are whatever the source holds."""

COLUMNS: Final = (
    "prompt",
    "completion",
    "messages",
    "chosen",
    "rejected",
    "completions",
    "scores",
    "ranks",
    "label",
    "template",
    "problem_id",
    "finish_reason",
    "rejected_finish_reason",
    *NOT_RENDERED,
)
"""Columns of the schemas; others are passed over."""


def rows_of(kind: KindName, where: str, row: Columns, template: str) -> Iterator[Row]:
    """Yield what a row of a source gives: one row, or of ranked completions a pair of each two with a gap.

    Args:
        kind: ``sft``, ``dpo`` or ``kto``.
        where: place of the row, for messages.
        row: with the schema's column names; a column that is null counts as absent.
        template: the run's.

    Raises:
        DataError: the row is of another schema, or a column is missing, holds something else, or names another
            template than the run's.
    """
    given = {name: value for name, value in row.items() if value is not None}
    _refuse_other_template(where, given, template)
    _refuse_other_schema(kind, where, given)
    for one in _READERS[kind](where, given):
        yield replace(one, problem=_known(one.problem, given))


def negatives_of(where: str, row: Columns, system: str) -> Iterator[Demonstration]:
    """Yield the bad answers of a row, under a system prompt that asks for them.

    Of a labeled completion it is the bad one, of a pair the rejected one; any other completion counts as bad.

    Args:
        where: place of the row, for messages.
        row: with the schema's column names.
        system: the system prompt.

    Raises:
        DataError: as for :func:`rows_of`.
    """
    given = {name: value for name, value in row.items() if value is not None}
    if "template" in given:
        raise DataError(
            f"{where}: has a column 'template', so its prompts are rendered already, and the system prompt of "
            "data.negatives would not be in them. Give rows with questions."
        )
    if "chosen" in given:
        for pair in _pairs(where, given):
            yield Demonstration(problem=pair.problem, completion=pair.rejected, system=system)
        return
    if "label" in given and next(_judged(where, given)).is_good:
        return
    found = _prompted(where, given)
    yield Demonstration(problem=found.problem, completion=found.completion, is_cut=found.is_cut, system=system)


def _known(problem: Problem, row: Columns) -> Problem:
    """Return a problem under the id that its row has for it: a rendered prompt does not tell which problem it is."""
    return replace(problem, id=row["problem_id"]) if isinstance(row.get("problem_id"), str) else problem


def _refuse_other_template(where: str, row: Columns, template: str) -> None:
    if row.get("template", template) != template:
        raise DataError(
            f"{where}: its prompt was made by template {row['template']!r}, but the run's is {template!r}: write "
            f"template: {row['template']}, or sample again with the other one."
        )


def _refuse_other_schema(kind: KindName, where: str, row: Columns) -> None:
    """Refuse rows that another command learns from, and columns that templates do not render."""
    for name in NOT_RENDERED:
        if row.get(name):
            raise DataError(f"{where}: column {name!r} is set, which our templates do not render. Leave the row out.")
    marks = {"sft": ("messages", "completion"), "dpo": ("chosen", "completions"), "kto": ("label",)}
    if kind == "sft" and not row.get("label", True):
        raise DataError(
            f"{where}: column 'label' calls the completion bad, which SFT would learn to give. Leave such rows out, or "
            "give them as data.negatives."
        )
    if any(name in row for name in marks[kind]):
        return
    others = [f"reasonrl {other}" for other, names in marks.items() if any(name in row for name in names)]
    if "text" in row and not others:
        raise DataError(
            f"{where}: has a column 'text' alone, in which nobody can tell what the assistant says. Give 'messages', "
            "or 'prompt' and 'completion'."
        )
    hint = f" Such rows are for {' or '.join(others)}." if others else and_known(marks[kind][0], row)
    raise DataError(f"{where}: no column {' or '.join(map(repr, marks[kind]))}.{hint} data.columns renames columns.")


# SFT.


def _demonstrations(where: str, row: Columns) -> Iterator[Demonstration]:
    yield _conversation(where, row) if "messages" in row else _prompted(where, row)


def _conversation(where: str, row: Columns) -> Demonstration:
    """Read a whole conversation; what follows the assistant's last message is not there to be learned."""
    messages = messages_of(where, "messages", row["messages"])
    last = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=None)
    if last is None:
        raise DataError(f"{where}: column 'messages' has no message of the assistant, so there is nothing to learn.")
    prompt = prompt_of(where, list(messages[:last]), "column 'messages', before its last answer,")
    return Demonstration(
        problem=problem_of(prompt),
        completion=messages[last]["content"],
        is_rendered="template" in row,
        teaches_earlier=any(message["role"] == "assistant" for message in prompt),
        is_cut=_is_cut(row),
    )


def _prompted(where: str, row: Columns) -> Demonstration:
    prompt = prompt_of(where, required_column(where, row, "prompt"))
    completion = completion_of(where, "completion", required_column(where, row, "completion"), prompt)
    return Demonstration(
        problem=problem_of(prompt), completion=completion, is_rendered="template" in row, is_cut=_is_cut(row)
    )


def _is_cut(row: Columns, column: str = "finish_reason") -> bool:
    return row.get(column) == "length"


# DPO and KTO.


def _pairs(where: str, row: Columns) -> Iterator[PreferencePair]:
    cut = (_is_cut(row), _is_cut(row, "rejected_finish_reason"))
    for pair in examples_of(where, _unmarked(row), "bradley_terry"):
        assert isinstance(pair, Pair), "asked for"
        yield PreferencePair(
            problem=pair.problem,
            chosen=pair.chosen,
            rejected=pair.rejected,
            is_rendered="template" in row,
            is_cut=cut,
        )


def _unmarked(row: Columns) -> Columns:
    """Return a row without the column that says that its prompt is rendered, which reward models refuse."""
    return {name: value for name, value in row.items() if name != "template"}


def _judged(where: str, row: Columns) -> Iterator[JudgedCompletion]:
    for one in examples_of(where, _unmarked(row), "outcome"):
        assert isinstance(one, LabeledCompletion), "asked for"
        if one.label not in (0, 1):
            raise DataError(
                f"{where}: column 'label' is {one.label:g}, but KTO learns from good and bad alone: true or false."
            )
        yield JudgedCompletion(
            problem=one.problem,
            completion=one.completion,
            is_good=one.label == 1,
            is_rendered="template" in row,
            is_cut=_is_cut(row),
        )


_READERS: Final[Mapping[str, Callable[[str, Columns], Iterator[Row]]]] = {
    "sft": _demonstrations,
    "dpo": _pairs,
    "kto": _judged,
}
