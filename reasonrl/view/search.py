"""Find rollouts in the index: filters, order, pages."""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Final, Self

from reasonrl.errors import ConfigError, RunError, and_known
from reasonrl.view.index import reward_names

PAGE: Final = 50
"""Rollouts of a page."""

MAX_COUNTED: Final = 10_000
"""Matches of a text that are counted; beyond them there are "more than" so many."""

FEW: Final = 20_000
"""So many rollouts that pass the other filters are searched one by one; more are found by the index of texts."""

LIMIT_S: Final = 15.0
"""Longest time of a search."""

EXCERPT: Final = 240
"""Characters of a completion in a list."""

ORDERS: Final[Mapping[str, str]] = {
    "step": "rollout.id",
    "latest": "rollout.step DESC, rollout.id",
    "reward": "rollout.reward, rollout.id",
    "-reward": "rollout.reward DESC, rollout.id",
    "advantage": "rollout.advantage, rollout.id",
    "-advantage": "rollout.advantage DESC, rollout.id",
    "tokens": "rollout.tokens, rollout.id",
    "-tokens": "rollout.tokens DESC, rollout.id",
    "logprob": "rollout.logprob, rollout.id",
}
"""What a list can be sorted by."""

SEARCHED: Final = ("completion", "reason", "prompt")

CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "outcome": ("scored", "unscorable", "timeout", "error", "failed"),
    "truncated": ("yes", "no"),
    "unused": ("yes", "no", "no_signal", "stale"),
    "within": SEARCHED,
    "sort": tuple(ORDERS),
}
"""Values of filters that have a few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What is looked for; a filter that is empty passes everything."""

    step_from: int | None = None
    step_to: int | None = None
    task: str = ""
    problem: str = ""
    reward: str = ""
    """The reward that ``outcome``, ``low`` and ``high`` are about; empty for the weighted sum."""
    outcome: str = ""
    low: float | None = None
    high: float | None = None
    truncated: str = ""
    unused: str = ""
    text: str = ""
    within: str = "completion"
    """Where the text is looked for."""
    sort: str = "step"

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Self:
        """Read the parameters of a URL.

        Raises:
            ConfigError: one is unknown, or has a value that makes no sense.
        """
        known = {field.name: field.type for field in fields(cls)}
        for name in given:
            if name not in known:
                raise ConfigError(f"there is no filter {name!r}.{and_known(name, known)}")
        for name, choices in CHOICES.items():
            if given.get(name) and given[name] not in choices:
                raise ConfigError(f"{name}: {given[name]!r} is none of {', '.join(choices)}.")
        return cls(**{name: _value(name, text, str(known[name])) for name, text in given.items() if text != ""})


def _value(name: str, text: str, kind: str) -> Any:
    """Read one value. Any: an int, a float or a text."""
    try:
        return int(text) if kind.startswith("int") else float(text) if kind.startswith("float") else text
    except ValueError:
        raise ConfigError(f"{name}: {text!r} is not a number.") from None


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the rollouts that were found."""

    rows: list[dict[str, Any]]
    """Any: numbers and texts by column."""
    total: int
    is_capped: bool
    """Whether there are more than ``total``."""


def find(db: sqlite3.Connection, filters: Filters, offset: int) -> Page:
    """Return a page of rollouts.

    Raises:
        RunError: it takes too long.
    """
    with _limited(db):
        where, values = _conditions(filters)
        if not filters.text:
            rest = f"FROM rollout WHERE {where}"
            total = db.execute(f"SELECT count(*) {rest}", values).fetchone()[0]
            return _page(db, filters, rest, values, offset, total)
        return _with_text(db, filters, where, values, offset)


def _with_text(db: sqlite3.Connection, filters: Filters, where: str, values: list[Any], offset: int) -> Page:
    """Return a page of the rollouts that pass the other filters and have the text. Any: numbers and texts."""
    table, match = filters.within, _Match.of(filters.text)
    if table == "prompt":
        found = f"first IN (SELECT rowid FROM prompt WHERE {match.of_column('text')})"
        return _counted(db, filters, f"FROM rollout WHERE {where} AND {found}", [*values, *match.values], offset)
    few = f"SELECT count(*) FROM (SELECT 1 FROM rollout WHERE {where} LIMIT {FEW + 1})"
    if db.execute(few, values).fetchone()[0] <= FEW:
        # The table behind the index of texts, which has a text by its rollout's id.
        texts = f"SELECT 1 FROM {table}_content AS given WHERE given.id = rollout.id"
        rest = f"FROM rollout WHERE {where} AND EXISTS ({texts} AND {match.of_column('given.c0')})"
        return _counted(db, filters, rest, [*values, *match.values], offset)
    # The index of texts gives its rows in the order of ids: for that order the first matches are enough.
    most = f"ORDER BY {table}.rowid LIMIT {max(MAX_COUNTED + 1, offset + PAGE)}" if filters.sort == "step" else ""
    db.execute("CREATE TEMP TABLE found (id INTEGER PRIMARY KEY)")
    db.execute(
        f"INSERT INTO found SELECT rollout.id FROM {table} CROSS JOIN rollout ON rollout.id = {table}.rowid "
        f"WHERE {match.of_column(f'{table}.text')} AND {where} {most}",
        [*match.values, *values],
    )
    return _counted(db, filters, "FROM rollout WHERE rollout.id IN (SELECT id FROM found)", [], offset)


@dataclass(frozen=True, slots=True)
class _Match:
    """A text that is looked for, as conditions in SQL."""

    conditions: tuple[str, ...]
    values: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the conditions: the first one uses the index of texts, where ``%`` and ``_`` stand for anything."""
        if "%" in text or "_" in text:
            return cls(("{} LIKE ?", "instr(lower({}), lower(?))"), (f"%{text}%", text))
        return cls(("{} LIKE ?",), (f"%{text}%",))

    def of_column(self, column: str) -> str:
        """Return the condition that a column has the text."""
        return " AND ".join(condition.format(column) for condition in self.conditions)


def _conditions(filters: Filters) -> tuple[str, list[Any]]:
    """Return a condition in SQL and its values. Any: numbers and texts."""
    found = [*_of_rollout(filters), *_of_score(filters)]
    return " AND ".join(["1", *(text for text, _ in found)]), [value for _, values in found for value in values]


def _of_rollout(filters: Filters) -> Iterator[tuple[str, tuple[Any, ...]]]:
    if filters.step_from is not None:
        yield "rollout.step >= ?", (filters.step_from,)
    if filters.step_to is not None:
        yield "rollout.step <= ?", (filters.step_to,)
    if filters.task:
        yield "rollout.task = ?", (filters.task,)
    if filters.problem:
        yield "rollout.problem = ?", (filters.problem,)
    if filters.truncated:
        yield f"rollout.finish {'=' if filters.truncated == 'yes' else '<>'} 'length'", ()
    if filters.unused in ("yes", "no"):
        yield f"rollout.unused IS {'NOT NULL' if filters.unused == 'yes' else 'NULL'}", ()
    elif filters.unused:
        yield "rollout.unused = ?", (filters.unused,)


def _of_score(filters: Filters) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield the conditions on the weighted sum, or on one reward."""
    table, value = ("score", "value") if filters.reward else ("rollout", "rollout.reward")
    conditions: list[tuple[str, tuple[Any, ...]]] = []
    if filters.outcome == "failed":
        conditions.append((f"{table}.outcome IN ('timeout', 'error')", ()))
    elif filters.outcome:
        conditions.append((f"{table}.outcome = ?", (filters.outcome,)))
    if filters.low is not None:
        conditions.append((f"{value} >= ?", (filters.low,)))
    if filters.high is not None:
        conditions.append((f"{value} <= ?", (filters.high,)))
    if not filters.reward:
        yield from conditions
    elif conditions:
        texts = " AND ".join(["score.name = ?", *(text for text, _ in conditions)])
        values = [value for _, values in conditions for value in values]
        yield f"rollout.id IN (SELECT rollout FROM score WHERE {texts})", (filters.reward, *values)


def _counted(db: sqlite3.Connection, filters: Filters, rest: str, values: list[Any], offset: int) -> Page:
    counted = f"SELECT count(*) FROM (SELECT 1 {rest} LIMIT {MAX_COUNTED + 1})"
    return _page(db, filters, rest, values, offset, db.execute(counted, values).fetchone()[0])


def _page(db: sqlite3.Connection, filters: Filters, rest: str, values: list[Any], offset: int, total: int) -> Page:
    rows = db.execute(
        f"SELECT rollout.* {rest} ORDER BY {ORDERS[filters.sort]} LIMIT {PAGE} OFFSET ?", [*values, offset]
    ).fetchall()
    is_capped = bool(filters.text) and total > MAX_COUNTED
    return Page([_listed(db, filters, row) for row in rows], min(total, MAX_COUNTED) if is_capped else total, is_capped)


def _listed(db: sqlite3.Connection, filters: Filters, row: sqlite3.Row) -> dict[str, Any]:
    """Return what a list shows of a rollout, with the part of its text that was looked for. Any: by column."""
    shown = {name: row[name] for name in row.keys() if name not in ("offset", "length", "place")}  # noqa: SIM118
    table = filters.within if filters.text else "completion"
    rowid = row["first"] if table == "prompt" else row["id"]
    text, length = _excerpt(db, table, rowid, filters.text)
    return {**shown, "excerpt": text, "length": length}


def _excerpt(db: sqlite3.Connection, table: str, rowid: int, wanted: str) -> tuple[str, int]:
    found = db.execute(f"SELECT c0, length(c0) FROM {table}_content WHERE id = ?", (rowid,)).fetchone()
    text, length = found or ("", 0)
    place = text.lower().find(wanted.lower()) if wanted else 0
    start = max(0, place - EXCERPT // 3) if place > EXCERPT else 0
    return ("\N{HORIZONTAL ELLIPSIS}" if start else "") + text[start : start + EXCERPT], length


def facets(db: sqlite3.Connection) -> dict[str, Any]:
    """Return what there is to filter by. Any: JSON values."""
    first, last, steps = db.execute("SELECT min(step), max(step), count(*) FROM file").fetchone()
    return {
        "tasks": [task for (task,) in db.execute("SELECT DISTINCT task FROM rollout") if task],
        "rewards": reward_names(db),
        "steps": {"first": first, "last": last, "count": steps},
        "rollouts": db.execute("SELECT count(*) FROM rollout").fetchone()[0],
    }


@contextmanager
def _limited(db: sqlite3.Connection) -> Iterator[None]:
    """End what takes too long."""
    until = time.monotonic() + LIMIT_S
    db.set_progress_handler(lambda: time.monotonic() > until, 10_000)
    try:
        yield
    except sqlite3.OperationalError as error:
        if str(error) != "interrupted":
            raise
        raise RunError(f"this search takes longer than {LIMIT_S:g} s: add a filter, or search for more text.") from None
    finally:
        db.set_progress_handler(None, 0)
