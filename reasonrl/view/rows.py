"""A line of a rollout file as rows of the index: what can be filtered and sorted by, and the texts to search in."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reasonrl.errors import RunError

LINES: Final = 1 << 24
"""More than a rollout file has: an id is ``step * LINES + line``, so that ids are in the order of files and lines."""


@dataclass(frozen=True, slots=True)
class Line:
    """One rollout where it stands in its file."""

    id: int
    offset: int
    """Of its first byte."""
    length: int
    """Bytes, with the line break."""
    record: Mapping[str, Any]
    """Any: JSON values."""


def first_id(step: int) -> int:
    """Return the least id of a step."""
    return step * LINES


def step_of(rollout: int) -> int:
    """Return the step of a rollout's id."""
    return rollout // LINES


def read_lines(path: Path, step: int) -> Iterator[Line]:
    """Yield the rollouts of a file.

    Raises:
        RunError: a line is not one.
    """
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if not line.endswith(b"\n"):
                return  # what a kill left of a record
            yield Line(first_id(step) + number, offset, len(line), _parsed(line, path, number))
            offset += len(line)


def read_line(path: Path, offset: int, length: int) -> Mapping[str, Any]:
    """Return the record at a place of a file. Any: JSON values.

    Raises:
        RunError: there is none.
    """
    with path.open("rb") as file:
        file.seek(offset)
        return _parsed(file.read(length), path, None)


def _parsed(line: bytes, path: Path, number: int | None) -> Mapping[str, Any]:
    where = path if number is None else f"{path}:{number + 1}"
    try:
        record = json.loads(line)
    except ValueError as error:
        raise RunError(f"{where}: not a JSON record ({error}).") from None
    if not isinstance(record, dict) or not isinstance(record.get("completion"), str):
        raise RunError(f"{where}: not a rollout: it has no completion.")
    return record


def rollout_row(line: Line, first: int) -> tuple[Any, ...]:
    """Return the row of a rollout, in the order of the table's columns. Any: numbers and texts.

    Args:
        line: the rollout.
        first: id of the first member of its group.
    """
    record = line.record
    tokens = record.get("completion_tokens") or 0
    logprob = record.get("logprob_sum")
    return (
        *(line.id, first, step_of(line.id), line.offset, line.length),
        *(record.get("group_index"), record.get("group_id"), record.get("task"), record.get("sample_index")),
        *(record.get("reward"), record.get("outcome"), _mean(record.get("advantage")), tokens),
        *(None if logprob is None or not tokens else logprob / tokens, record.get("finish_reason")),
        record.get("unused"),
    )


def score_rows(line: Line) -> Iterator[tuple[str, int, float | None, str]]:
    """Yield a row for each reward."""
    for name, score in (line.record.get("rewards") or {}).items():
        yield name, line.id, score.get("value"), score.get("outcome")


def reasons(record: Mapping[str, Any]) -> str:
    """Return why each reward gave what it gave, as one text. Any: JSON values."""
    scores = (record.get("rewards") or {}).items()
    return "\n".join(f"{name}: {score.get('why', '')}" for name, score in scores)


def searchable(text: str) -> str:
    """Return a text as a database can hold it: half characters and zero bytes become signs that stand for them."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _mean(advantage: object) -> float | None:
    if not isinstance(advantage, list):
        return advantage if isinstance(advantage, float | int) else None
    finite = [value for value in advantage if value is not None]
    return math.fsum(finite) / len(finite) if finite else None
