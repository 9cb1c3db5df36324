"""A leaderboard as text, as Markdown and as JSON values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from reasonrl.evaluation.leaderboard import Board, Entry
from reasonrl.system.table import aligned

NOT_COMPARABLE = "*"
"""Marks a figure that cannot be compared with the others of its suite."""


def render_board(board: Board, *, markdown: bool = False) -> str:
    """Return a table of models by suites where there are several of both, then one for each suite."""
    tables = [_suite(board, suite, markdown) for suite in board.suites]
    if len(board.suites) > 1:
        tables.insert(0, "\n".join(_table(_overview(board), markdown)))
    if any(entry.differs for entries in board.suites.values() for entry in entries):
        tables.append(f"{_escaped(NOT_COMPARABLE, markdown)} cannot be compared with those above it in its suite")
    notes = [f"left out: {reason}" for reason in board.left_out]
    return "\n\n".join([*tables, *(["\n".join(notes)] if notes else [])])


def board_values(board: Board) -> Mapping[str, object]:
    """Return a leaderboard as JSON values."""
    suites = {
        suite: {
            "protocol": dict(board.protocol(suite)),
            "entries": [asdict(entry) | {"folder": str(entry.folder)} for entry in entries],
        }
        for suite, entries in board.suites.items()
    }
    return {"suites": suites, "left_out": list(board.left_out)}


def _overview(board: Board) -> list[list[str]]:
    """Return a row for each model, with its figures on all suites."""
    names = _names([entry for entries in board.suites.values() for entry in entries])
    rows: dict[str, dict[str, str]] = {}
    for suite, entries in board.suites.items():
        for entry in entries:
            mark = f" {NOT_COMPARABLE}" if entry.differs else ""
            rows.setdefault(names[str(entry.folder)], {})[suite] = _interval(entry) + mark
    body = [[model, *(cells.get(suite, "") for suite in board.suites)] for model, cells in rows.items()]
    return [["model", *board.suites], *body]


def _names(entries: Sequence[Entry]) -> dict[str, str]:
    """Return what to call the model of each folder: where a suite has two of a name, the folder too."""
    seen: dict[tuple[str, str], int] = {}
    for entry in entries:
        seen[entry.model, entry.suite] = seen.get((entry.model, entry.suite), 0) + 1
    repeated = {model for (model, _), count in seen.items() if count > 1}
    return {
        str(entry.folder): f"{entry.model} ({_place(entry)})" if entry.model in repeated else entry.model
        for entry in entries
    }


def _place(entry: Entry) -> Path:
    """Return the folder of a model's results on all suites, or that of a single result."""
    return entry.folder.parent if entry.folder.name == entry.suite else entry.folder


def _suite(board: Board, suite: str, markdown: bool) -> str:
    entries, protocol = board.suites[suite], board.protocol(suite)
    names = _names(entries)
    title = (
        f"{suite} v{protocol['version']}: {entries[0].num_problems} problems x {protocol['num_samples']}, temperature "
        f"{protocol['temperature']}, top_p {protocol['top_p']}, max_new_tokens {protocol['max_new_tokens']}, "
        f"template {protocol['template']}"
    )
    header = ["model", "figure", "value [95 %]", "n", "truncated", "engine", "remarks"]
    rows = [_row(entry, names[str(entry.folder)]) for entry in entries]
    return "\n".join([f"### {title}\n" if markdown else title, *_table([header, *rows], markdown)])


def _row(entry: Entry, name: str) -> list[str]:
    whole = entry.num_problems_in_suite
    limit = [] if whole is None else [f"limited: {entry.num_problems} of {whole} problems"]
    return [
        name,
        entry.figure,
        _interval(entry) + (f" {NOT_COMPARABLE}" if entry.differs else ""),
        f"{entry.num_problems} x {entry.protocol['num_samples']}",
        f"{entry.truncated:.1%}",
        entry.engine,
        "; ".join([*limit, *entry.differs]),
    ]


def _interval(entry: Entry) -> str:
    return f"{entry.value:.1%} [{entry.lower:.1%}, {entry.upper:.1%}]"


def _table(rows: Sequence[Sequence[str]], markdown: bool) -> list[str]:
    if not markdown:
        return aligned(rows)
    lines = [f"| {' | '.join(_escaped(cell, markdown) for cell in row)} |" for row in rows]
    return [lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]]


def _escaped(text: str, markdown: bool) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_") if markdown else text
