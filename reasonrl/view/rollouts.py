"""One rollout, and a group of them, as a page shows it: texts in pieces, tokens beside what is known of them."""

import sqlite3
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from reasonrl.errors import ConfigError
from reasonrl.view.index import RolloutIndex
from reasonrl.view.rows import first_id, read_line, step_of
from reasonrl.view.runs import NotFoundError

PIECE: Final = 20_000
"""Characters of a text that are sent at first."""

MAX_PIECE: Final = 500_000
"""Most characters that are sent at once."""

SIBLING: Final = 3_000
"""Characters of a completion that stands beside its siblings."""

SPAN: Final = 200
"""Characters of a step of a completion that are repeated beside its reward."""

Field: TypeAlias = Literal["completion", "prompt"]
Json: TypeAlias = dict[str, Any]
"""Any: JSON values."""


def read(index: RolloutIndex, db: sqlite3.Connection, rollout: int) -> Json:
    """Return a rollout with its neighbors in the order of the files.

    Raises:
        NotFoundError: there is none.
        RunError: its file cannot be read.
    """
    row = _row(db, rollout)
    record = _record(index, row)
    return {
        **_values(record, rollout, PIECE),
        "prompt": piece(record, "prompt", 0, PIECE),
        "previous": _neighbor(db, "SELECT max(id) FROM rollout WHERE id < ?", rollout),
        "next": _neighbor(db, "SELECT min(id) FROM rollout WHERE id > ?", rollout),
        "group_size": len(_members(db, row)),
    }


def read_group(index: RolloutIndex, db: sqlite3.Connection, rollout: int) -> Json:
    """Return all members of the group that a rollout belongs to, with the prompt once, and the groups beside it.

    Raises:
        NotFoundError: there is no such rollout.
        RunError: its file cannot be read.
    """
    row = _row(db, rollout)
    members = [(member["id"], _record(index, member)) for member in _members(db, row)]
    first, last = members[0][0], members[-1][0]
    return {
        "members": [_values(record, place, SIBLING) for place, record in members],
        "prompt": piece(members[0][1], "prompt", 0, PIECE),
        "previous": _neighbor(db, "SELECT first FROM rollout WHERE id < ? ORDER BY id DESC LIMIT 1", first),
        "next": _neighbor(db, "SELECT first FROM rollout WHERE id > ? ORDER BY id LIMIT 1", last),
    }


def read_piece(index: RolloutIndex, db: sqlite3.Connection, rollout: int, field: str, start: int, count: int) -> Json:
    """Return a further part of a rollout's text.

    Raises:
        NotFoundError: there is no such rollout.
        ConfigError: it has no such text.
    """
    record = _record(index, _row(db, rollout))
    if field == "completion":
        return completion_piece(record, start, min(count, MAX_PIECE))
    if field == "prompt":
        return piece(record, "prompt", start, min(count, MAX_PIECE))
    raise ConfigError(f"field: {field!r} is none of completion, prompt.")


def piece(record: Mapping[str, Any], field: Field, start: int, count: int) -> Json:
    """Return characters ``start`` to ``start + count`` of a text. Any: JSON values."""
    text = str(record.get(field, ""))
    return {"text": text[start : start + count], "start": start, "length": len(text)}


def completion_piece(record: Mapping[str, Any], start: int, count: int) -> Json:
    """Return the same of the completion, cut into its tokens where their ends are known. Any: JSON values."""
    shown = piece(record, "completion", start, count)
    tokens = record.get("tokens")
    if not tokens or not tokens.get("ends"):
        return shown
    ends, text = tokens["ends"], str(record["completion"])
    first = bisect_right(ends, start) if start else 0
    last = max(bisect_right(ends, start + count), min(first + 1, len(ends)))
    stop = max(ends[last - 1], start) if last > first else start
    if last == len(ends):  # the text may go on behind all tokens
        stop = max(stop, min(start + count, len(text)))
    begins = [start, *ends[first : last - 1]] if last > first else []
    return {
        **shown,
        "text": text[start:stop],
        "tokens": {
            "texts": [text[begin:end] for begin, end in zip(begins, ends[first:last], strict=True)],
            "logprobs": tokens["logprobs"][first:last],
            "entropies": (tokens.get("entropies") or [])[first:last],
        },
    }


def _values(record: Mapping[str, Any], rollout: int, count: int) -> Json:
    """Return what is shown of a rollout beside its prompt. Any: JSON values."""
    names = (
        *("step", "group_index", "group_id", "sample_index", "task", "completion_tokens", "segments", "policy_version"),
        *("logprob_sum", "finish_reason", "seed", "answer", "reward", "outcome", "penalties", "unused"),
    )
    text, advantage = str(record.get("completion", "")), record.get("advantage")
    return {
        "id": rollout,
        **{name: record.get(name) for name in names},
        "advantage": _mean(advantage),
        "advantage_by_token": isinstance(advantage, list),
        "rewards": {name: _score(score, text) for name, score in (record.get("rewards") or {}).items()},
        "completion": completion_piece(record, 0, count),
    }


def _score(score: Mapping[str, Any], text: str) -> Json:
    """Return a reward's score, with the texts of the steps that it gave rewards of their own. Any: JSON values."""
    spans = [{**span, "text": text[span["start"] : span["end"]][:SPAN]} for span in score.get("spans", ())]
    return {**score, "spans": spans}


def _mean(advantage: object) -> object:
    if not isinstance(advantage, list):
        return advantage
    finite = [value for value in advantage if value is not None]
    return sum(finite) / len(finite) if finite else None


def _row(db: sqlite3.Connection, rollout: int) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM rollout WHERE id = ?", (rollout,)).fetchone()
    if row is None:
        raise NotFoundError(f"there is no rollout {rollout} in this run.")
    return row


def _record(index: RolloutIndex, row: sqlite3.Row) -> Mapping[str, Any]:
    """Read a record from its file. Any: JSON values."""
    try:
        record = read_line(index.file_of(step_of(row["id"])), row["offset"], row["length"])
    except FileNotFoundError:
        raise NotFoundError(f"the rollouts of step {row['step']} are not there any more.") from None
    if (record.get("group_id"), record.get("sample_index")) != (row["problem"], row["sample"]):
        raise NotFoundError(f"the rollouts of step {row['step']} were just written anew: load the page again.")
    return record


def _members(db: sqlite3.Connection, row: sqlite3.Row) -> Sequence[sqlite3.Row]:
    """Return the rows of a group: they are lines of one file."""
    ids = (row["first"], first_id(row["step"] + 1) - 1, row["first"])
    return db.execute("SELECT * FROM rollout WHERE id BETWEEN ? AND ? AND first = ? ORDER BY id", ids).fetchall()


def _neighbor(db: sqlite3.Connection, query: str, rollout: int) -> int | None:
    found = db.execute(query, (rollout,)).fetchone()
    return found[0] if found else None
