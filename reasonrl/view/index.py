"""The index of a run's rollouts: a database in the user's cache folder, brought up to date while the run trains.

A rollout file is indexed once, and again when it is another one: after a run was resumed or rolled back. What was
indexed of files that are gone is dropped. The index can be deleted at any time.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Final

from reasonrl.errors import ReasonRLError, RunError
from reasonrl.models import cache_folder
from reasonrl.run.files.steps import by_step, folder_name
from reasonrl.types import digest
from reasonrl.view.rows import Line, first_id, read_lines, reasons, rollout_row, score_rows, searchable

VERSION: Final = 1
"""Of the tables; an index of another version is made anew."""

SOON_BYTES: Final = 8 << 20
"""So much is indexed before a request is answered; more than that beside the requests."""

SETTLED_NS: Final = 2_000_000_000
"""A folder that has not changed for so long has no file that came after it was listed."""

SCHEMA: Final = """
CREATE TABLE about (run_id TEXT NOT NULL);
CREATE TABLE file (step INTEGER PRIMARY KEY, stamp TEXT NOT NULL, error TEXT);
CREATE TABLE rollout (
    id INTEGER PRIMARY KEY, first INTEGER NOT NULL, step INTEGER NOT NULL, offset INTEGER NOT NULL,
    length INTEGER NOT NULL, place INTEGER, problem TEXT, task TEXT, sample INTEGER, reward REAL, outcome TEXT,
    advantage REAL, tokens INTEGER, logprob REAL, finish TEXT, unused TEXT
);
CREATE INDEX rollout_problem ON rollout (problem);
CREATE INDEX rollout_task ON rollout (task);
CREATE INDEX rollout_outcome ON rollout (outcome);
CREATE INDEX rollout_finish ON rollout (finish);
CREATE INDEX rollout_unused ON rollout (unused);
CREATE INDEX rollout_reward ON rollout (reward);
CREATE INDEX rollout_advantage ON rollout (advantage);
CREATE INDEX rollout_tokens ON rollout (tokens);
CREATE INDEX rollout_logprob ON rollout (logprob);
CREATE TABLE score (
    name TEXT NOT NULL, rollout INTEGER NOT NULL, value REAL, outcome TEXT, PRIMARY KEY (name, rollout)
) WITHOUT ROWID;
CREATE INDEX score_value ON score (name, value);
CREATE INDEX score_outcome ON score (name, outcome);
CREATE VIRTUAL TABLE completion USING fts5 (text, tokenize = 'trigram', detail = 'none', columnsize = 0);
CREATE VIRTUAL TABLE reason USING fts5 (text, tokenize = 'trigram', detail = 'none', columnsize = 0);
CREATE VIRTUAL TABLE prompt USING fts5 (text, tokenize = 'trigram', detail = 'none', columnsize = 0);
"""
"""Texts can be searched for any part of three characters and more; a prompt stands there once a group."""

TEXTS: Final = ("completion", "reason", "prompt")


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a run is indexed."""

    done: int
    """Rollout files."""
    total: int
    errors: Mapping[int, str]
    """Why a step's file cannot be read."""


class RolloutIndex:
    """The index of one run.

    Args:
        run: its directory, which is only read.
        run_id: of the run; a directory that holds another one has another index.

    Raises:
        RunError: the cache folder cannot be written.
    """

    def __init__(self, run: Path, run_id: str) -> None:
        self.run, self._run_id = run, run_id
        self._lock = Lock()
        self._is_closing = False
        self._seen: tuple[int, Progress] | None = None
        """When the folder of rollouts had changed last before it was indexed whole, and what was found."""
        self._thread: Thread | None = None
        folder = cache_folder("view")
        self._file = folder / f"{run.name}-{digest(run.resolve())}.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._open_or_make()
        except (OSError, sqlite3.Error) as error:
            raise RunError(
                f"{self._file}: the index of rollouts cannot be written: {error}. Set REASONRL_CACHE to a folder that "
                "can be."
            ) from None

    def close(self) -> None:
        """Wait for the indexing that is under way, which ends after its file."""
        self._is_closing = True
        if self._thread is not None:
            self._thread.join()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Return a connection for one request; rows can be asked by column."""
        with closing(sqlite3.connect(self._file, timeout=30.0)) as db:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA synchronous = OFF")  # it can be made again
            db.execute("PRAGMA cache_size = -65536")
            db.execute("PRAGMA temp_store = MEMORY")
            db.execute("PRAGMA mmap_size = 1073741824")
            yield db

    def update(self) -> Progress:
        """Take in what is new, at once where it is little and in a thread of its own where it is much."""
        with self._lock:
            changed = _changed(self.run / "rollouts")
            if self._seen is not None and self._seen[0] == changed:
                return self._seen[1]
            if self._thread is None or not self._thread.is_alive():
                waiting = self._waiting()
                if sum(size for _, size in waiting.values()) <= SOON_BYTES:
                    self._index(waiting)
                else:
                    self._thread = Thread(target=self._index, args=(waiting,), name="rollout-index", daemon=True)
                    self._thread.start()
            progress = self._progress()
            # A file may still come within the same tick of the folder's clock.
            if progress.done == progress.total and changed and time.time_ns() - changed > SETTLED_NS:
                self._seen = changed, progress
            return progress

    def wait(self) -> None:
        """Return when nothing is indexed in a thread any more."""
        if self._thread is not None:
            self._thread.join()

    def file_of(self, step: int) -> Path:
        """Return the rollout file of a step."""
        return self.run / "rollouts" / f"{folder_name(step)}.jsonl"

    def _open_or_make(self) -> None:
        try:
            with self.connection() as db:
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version == VERSION and db.execute("SELECT run_id FROM about").fetchone()[0] == self._run_id:
                    return
        except sqlite3.Error:
            pass  # not a database of ours, or a damaged one
        for path in (self._file, *(Path(f"{self._file}{end}") for end in ("-wal", "-shm"))):
            path.unlink(missing_ok=True)
        with self.connection() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(SCHEMA)
            db.execute("INSERT INTO about VALUES (?)", (self._run_id,))
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.commit()

    def _progress(self) -> Progress:
        with self.connection() as db:
            done = db.execute("SELECT count(*) FROM file").fetchone()[0]
            errors = dict(db.execute("SELECT step, error FROM file WHERE error IS NOT NULL").fetchall())
        return Progress(done=done, total=max(done, len(self._files())), errors=errors)

    def _files(self) -> dict[int, Path]:
        return dict(by_step(self.run / "rollouts"))

    def _waiting(self) -> dict[int, tuple[Path, int]]:
        """Return the files to be indexed with their sizes, by step; what is gone or another one is dropped."""
        with self.connection() as db:
            known = dict(db.execute("SELECT step, stamp FROM file").fetchall())
            stamps = {step: stamp for step, path in self._files().items() if (stamp := _stamp(path))}
            stale = [step for step, stamp in known.items() if stamps.get(step) != stamp]
            for step in stale:
                _drop(db, step)
            db.commit()
        return {
            step: (self.file_of(step), int(stamps[step].split()[0]))
            for step in sorted(stamps)
            if step not in known or step in stale
        }

    def _index(self, waiting: Mapping[int, tuple[Path, int]]) -> None:
        if not waiting:
            return
        with self.connection() as db:
            for step, (path, _) in waiting.items():
                if self._is_closing:
                    return
                db.execute("BEGIN IMMEDIATE")  # another program may be indexing the same run
                try:
                    _index_file(db, step, path)
                    db.commit()
                except sqlite3.Error:
                    db.rollback()
                    raise


def _index_file(db: sqlite3.Connection, step: int, path: Path) -> None:
    stamp = _stamp(path)
    if stamp is None or db.execute("SELECT 1 FROM file WHERE step = ? AND stamp = ?", (step, stamp)).fetchone():
        return
    _drop(db, step)
    error = None
    try:
        _insert(db, list(read_lines(path, step)))
    except (ReasonRLError, OSError) as failure:
        _drop(db, step)
        error = str(failure)
    db.execute("INSERT INTO file VALUES (?, ?, ?)", (step, stamp, error))


def _insert(db: sqlite3.Connection, lines: list[Line]) -> None:
    firsts: dict[object, Line] = {}
    for line in lines:
        firsts.setdefault(line.record.get("group_index"), line)
    first_of = {place: line.id for place, line in firsts.items()}
    marks = ", ".join("?" * 16)
    db.executemany(
        f"INSERT INTO rollout VALUES ({marks})",
        (rollout_row(line, first_of[line.record.get("group_index")]) for line in lines),
    )
    db.executemany("INSERT INTO score VALUES (?, ?, ?, ?)", (row for line in lines for row in score_rows(line)))
    texts = {
        "completion": ((line.id, line.record["completion"]) for line in lines),
        "reason": ((line.id, reasons(line.record)) for line in lines),
        "prompt": ((line.id, line.record.get("prompt", "")) for line in firsts.values()),
    }
    for table, rows in texts.items():
        db.executemany(
            f"INSERT INTO {table} (rowid, text) VALUES (?, ?)", ((place, searchable(text)) for place, text in rows)
        )


def _drop(db: sqlite3.Connection, step: int) -> None:
    """Forget what is known of a step."""
    ids = (first_id(step), first_id(step + 1) - 1)
    for name in reward_names(db) if _has(db, ids) else ():
        db.execute("DELETE FROM score WHERE name = ? AND rollout BETWEEN ? AND ?", (name, *ids))
    for table in TEXTS:
        db.execute(f"DELETE FROM {table} WHERE rowid BETWEEN ? AND ?", ids)
    db.execute("DELETE FROM rollout WHERE id BETWEEN ? AND ?", ids)
    db.execute("DELETE FROM file WHERE step = ?", (step,))


def reward_names(db: sqlite3.Connection) -> list[str]:
    """Return the names of rewards; each next one is looked up, as there are few among many rows."""
    names = list[str]()
    following = "SELECT min(name) FROM score WHERE name > ?"
    while (found := db.execute(following, (names[-1] if names else "",)).fetchone()[0]) is not None:
        names.append(found)
    return names


def _has(db: sqlite3.Connection, ids: tuple[int, int]) -> bool:
    return db.execute("SELECT 1 FROM rollout WHERE id BETWEEN ? AND ? LIMIT 1", ids).fetchone() is not None


def _changed(folder: Path) -> int | None:
    """Return when a file came into a folder, left it or was replaced."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None


def _stamp(path: Path) -> str | None:
    """Return size, time and inode of a file, which is another one when any of them differs."""
    try:
        found = path.stat()
    except OSError:
        return None
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino}"
