"""Turn the rows of a data set into problems; shared by every task that reads one."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from reasonrl import DataError, Problem, Split, digest, split_of
from reasonrl.errors import and_known
from reasonrl_tasks.messages import Message, conversation, last_question

Row: TypeAlias = tuple[str, Mapping[str, Any]]
"""Where a row stands, for messages, and its columns. Any: they are whatever the source holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns make a problem."""

    question: str
    """Column of the question; not read where ``messages`` is set."""
    answer: str
    """Column of the answer."""
    answer_pattern: re.Pattern[str] | None
    """Cuts the answer out of its column: its one group. The whole column then stays in ``meta``."""
    messages: str | None
    """Column of a conversation, whose last user message is the question."""


def read_columns(*, question: str, answer: str, answer_pattern: str | None, messages: str | None) -> Columns:
    """Check the settings of a column mapping.

    Raises:
        DataError: the pattern is no regular expression, or does not have exactly one group.
    """
    try:
        pattern = re.compile(answer_pattern) if answer_pattern is not None else None
    except re.error as error:
        raise DataError(f"answer_pattern {answer_pattern!r} is not a regular expression: {error}.") from None
    if pattern is not None and pattern.groups != 1:
        raise DataError(
            f"answer_pattern {answer_pattern!r} has {pattern.groups} groups; put ( ) around the answer "
            "alone, and (?: ) around anything else."
        )
    return Columns(question=question, answer=answer, answer_pattern=pattern, messages=messages)


def problems_of(
    rows: Iterable[Row], columns: Columns, *, task: str, source: str, split: Split, heldout_share: float
) -> Sequence[Problem]:
    """Return the problems of one split, in the order of the rows, each problem once.

    A problem's id stands for its question and its answer up to case and white space, and not for its task or
    source, so that a copy in another file is found. Of rows with one id the first is kept. One question with
    two answers makes two problems, because either may be the wrong one. The split goes by the question alone, so
    that both stand on one side.

    Raises:
        DataError: a row cannot be used, the source has no rows, or the split has none.
    """
    keyed = (_problem(where, row, columns, task) for where, row in rows)
    return of_one_split(keyed, split=split, heldout_share=heldout_share, where=f"task {task!r}: {source}")


def of_one_split(
    keyed: Iterable[tuple[str, Problem]], *, split: Split, heldout_share: float, where: str
) -> Sequence[Problem]:
    """Return the problems of one split in their order; of several with one id the first.

    Args:
        keyed: the problems, each after the id that decides its split, such as :func:`question_key` gives.
        split: which side of the split.
        heldout_share: share that is held out; 0 returns all problems for either split.
        where: the task and its source, for messages.

    Raises:
        DataError: there is none, or the share is not a share.
    """
    if not 0 <= heldout_share < 1:
        raise DataError(f"{where}: heldout_share is {heldout_share}; use 0 or more and less than 1.")
    found: dict[str, Problem] = {}
    num_rows = 0
    for key, problem in keyed:
        num_rows += 1
        if heldout_share == 0 or split_of(key, heldout_share=heldout_share) == split:
            found.setdefault(problem.id, problem)
    if not found:
        has = f"none of its {num_rows} usable rows is in split {split!r}" if num_rows else "it has no usable rows"
        raise DataError(f"{where}: {has}.")
    return list(found.values())


def _problem(where: str, row: Mapping[str, Any], columns: Columns, task: str) -> tuple[str, Problem]:
    """Return the id of the question alone, and the problem."""
    name = columns.messages
    messages = conversation(where, name, column_of(where, row, name)) if name is not None else None
    prompt = last_question(where, messages) if messages else _text(where, row, columns.question)
    whole = _text(where, row, columns.answer)
    answer = _cut(where, whole, columns)
    problem = Problem(
        id=problem_id(asked_in(messages) if messages else prompt, answer),
        task=task,
        prompt=prompt,
        answer=answer,
        messages=messages,
        meta=_meta(row, columns),
    )
    return question_key(asked_in(messages) if messages else prompt), problem


def _meta(row: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    used = {columns.messages or columns.question}
    if columns.answer_pattern is None:
        used.add(columns.answer)
    return {name: value for name, value in row.items() if name not in used}


def problem_id(question: str, answer: str) -> str:
    """Return the id of a problem whose answer is a text, equal whatever the case and white space of either."""
    return digest("text", normalized(question), normalized(answer))


def question_key(question: str) -> str:
    """Return what decides the split of a problem: the same for all answers to one question."""
    return digest(normalized(question))


def asked_in(messages: Iterable[Message]) -> str:
    """Return all that a conversation says: what its problem is known by."""
    return " ".join(message["content"] for message in messages)


def normalized(text: str) -> str:
    """Return a text in the form in which two statements of one problem are equal."""
    return " ".join(text.split()).casefold()


def column_of(where: str, row: Mapping[str, Any], name: str) -> object:
    """Return a column of a row. Any: columns hold whatever they do.

    Raises:
        DataError: the row has none of this name.
    """
    if name not in row:
        raise DataError(f"{where}: no column {name!r}.{and_known(name, row)}")
    return row[name]


def _text(where: str, row: Mapping[str, Any], name: str) -> str:
    value = column_of(where, row, name)
    if isinstance(value, Collection) and not isinstance(value, str):
        raise DataError(f"{where}: column {name!r} holds a {type(value).__name__}, not a text or a number.")
    text = "" if value is None else str(value).strip()
    if not text:
        raise DataError(f"{where}: column {name!r} is empty. Remove the row, or name another column.")
    return text


def _cut(where: str, whole: str, columns: Columns) -> str:
    if columns.answer_pattern is None:
        return whole
    match = columns.answer_pattern.search(whole)
    answer = (match[1] or "").strip() if match else ""
    if not answer:
        raise DataError(
            f"{where}: answer_pattern {columns.answer_pattern.pattern!r} finds nothing in column "
            f"{columns.answer!r}, which ends in {whole[-60:]!r}."
        )
    return answer
