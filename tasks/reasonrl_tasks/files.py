"""Problems from a file: one JSON object a line, or Parquet."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from reasonrl import DataError, Problem, Split
from reasonrl_tasks.columns import Row, problems_of, read_columns


def jsonl(
    *,
    split: Split,
    seed: int,
    path: str,
    question: str = "question",
    answer: str = "answer",
    answer_pattern: str | None = None,
    messages: str | None = None,
    heldout_share: float = 0.0,
) -> Sequence[Problem]:
    r"""Read problems from a file with one JSON object a line; other columns go to ``meta``.

    Args:
        split: which side of the split to return; see ``heldout_share``.
        seed: not used: the file is fixed, so there is nothing to draw.
        path: the file, from the current folder.
        question: column of the question.
        answer: column of the answer.
        answer_pattern: regular expression whose one group is the answer within its column, such as
            ``####\s*(.+)`` for GSM8K.
        messages: column of a conversation, read in place of ``question``.
        heldout_share: share of the problems that is held out; 0 returns all for either split.

    Raises:
        DataError: the file or a row cannot be used; the message has the line.
    """
    del seed
    columns = read_columns(question=question, answer=answer, answer_pattern=answer_pattern, messages=messages)
    return problems_of(json_rows(path), columns, task="jsonl", source=path, split=split, heldout_share=heldout_share)


def parquet(
    *,
    split: Split,
    seed: int,
    path: str,
    question: str = "question",
    answer: str = "answer",
    answer_pattern: str | None = None,
    messages: str | None = None,
    heldout_share: float = 0.0,
) -> Sequence[Problem]:
    r"""Read problems from a Parquet file; other columns go to ``meta``.

    Args:
        split: which side of the split to return; see ``heldout_share``.
        seed: not used: the file is fixed, so there is nothing to draw.
        path: the file, from the current folder.
        question: column of the question.
        answer: column of the answer.
        answer_pattern: regular expression whose one group is the answer within its column, such as
            ``####\s*(.+)`` for GSM8K.
        messages: column of a conversation, read in place of ``question``.
        heldout_share: share of the problems that is held out; 0 returns all for either split.

    Raises:
        DataError: the file or a row cannot be used; the message has the row, counted from 1.
    """
    del seed
    columns = read_columns(question=question, answer=answer, answer_pattern=answer_pattern, messages=messages)
    return problems_of(
        _parquet_rows(path), columns, task="parquet", source=path, split=split, heldout_share=heldout_share
    )


def json_rows(path: str) -> Iterator[Row]:
    """Yield the objects of a file; blank lines are passed over."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text: byte {error.start} is {error.reason}.") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", _json_object(f"{path}:{number}", line)


def _json_object(where: str, line: str) -> dict[str, object]:
    """Read one line."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: is not JSON: {error.msg} at column {error.colno}.") from None
    if not isinstance(value, dict):
        raise DataError(f'{where}: is a JSON {type(value).__name__}, not an object like {{"question": ...}}.')
    return value


def _parquet_rows(path: str) -> Iterator[Row]:
    """Yield the rows of a file, a part of it in memory at a time."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
            yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {' '.join(str(error).split())[:300]}") from None
