"""Problems from a file: one JSON object a line, or Parquet."""

from collections.abc import Callable, Iterator, Sequence

from reasonrl import Problem, Split, TaskFn
from reasonrl_tasks.columns import Row, problems_of, read_columns
from reasonrl_tasks.readers import json_rows, parquet_rows


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
parquet = _task("parquet", "a Parquet file", parquet_rows)
