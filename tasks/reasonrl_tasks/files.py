"""Problems from a file: one JSON object a line, or Parquet."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from reasonrl import DataError, Problem, Split, TaskFn
from reasonrl.system.extras import needs_extra
from reasonrl.system.text import read_text
from reasonrl_tasks.columns import Row, problems_of, read_columns


def json_rows(path: str) -> Iterator[Row]:
    """Yield the objects of a file; blank lines are passed over."""
    text = read_text(Path(path), DataError)
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", _json_object(f"{path}:{number}", line)


def _json_object(where: str, line: str) -> dict[str, object]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: is not JSON: {error.msg} at column {error.colno}.") from None
    if not isinstance(value, dict):
        raise DataError(f'{where}: is a JSON {type(value).__name__}, not an object like {{"question": ...}}.')
    return value


def _parquet_rows(path: str) -> Iterator[Row]:
    """Yield the rows of a file, a part of it in memory at a time."""
    with needs_extra("data", f"{path}, a Parquet file,"):
        import pyarrow
        from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
            yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {' '.join(str(error).split())[:300]}") from None


def _task(name: str, form: str, read: Callable[[str], Iterator[Row]]) -> TaskFn:
    """Return the task that reads files of one form."""

    def task(
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
        del seed
        columns = read_columns(question=question, answer=answer, answer_pattern=answer_pattern, messages=messages)
        return problems_of(read(path), columns, task=name, source=path, split=split, heldout_share=heldout_share)

    task.__name__ = task.__qualname__ = name
    task.__doc__ = rf"""Read problems from {form}; other columns go to ``meta``.

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
        DataError: the file or a row cannot be used; the message has the line, or the row counted from 1.
    """
    return task


jsonl = _task("jsonl", "a file with one JSON object a line", json_rows)
parquet = _task("parquet", "a Parquet file", _parquet_rows)
