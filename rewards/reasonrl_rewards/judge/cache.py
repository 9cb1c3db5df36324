"""Verdicts on disk: an SQLite file that several processes may use at once.

A verdict is kept as the judge wrote it, under a digest of the whole request: model, messages, sampling parameters and
form, but not the endpoint's address. Prompts and completions are not stored. Only replies that are verdicts are kept.
"""

import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from reasonrl import ConfigError

MAX_VERDICTS: Final = 1_000_000
"""Verdicts that are kept when a cache is opened, the newest ones; at about 500 bytes each."""

BUSY_S: Final = 30.0
"""Longest wait for another process that writes."""

SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS verdicts (id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, reply TEXT NOT NULL)"
)


class VerdictCache:
    """Verdicts by key. Its methods may be called from any thread; they wait for the disk.

    Args:
        path: the file, made where there is none. On a network file system SQLite's locks may not hold.

    Raises:
        ConfigError: the file cannot be written, or is none of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"cache {path}: {error}. Name another file, or set cache: false to keep no verdicts."
            ) from None

    def _prepare(self) -> None:
        """Set the file up. Other processes may be doing the same."""
        _write_ahead(self._database)
        self._database.execute("PRAGMA synchronous = NORMAL")  # a crash of the machine may lose the last verdicts
        self._database.execute(SCHEMA)
        self._database.execute("DELETE FROM verdicts WHERE id <= (SELECT max(id) FROM verdicts) - ?", (MAX_VERDICTS,))

    def get(self, key: str) -> str | None:
        """Return the reply under a key, if there is one.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        with self._lock, closing(self._database.execute("SELECT reply FROM verdicts WHERE key = ?", (key,))) as found:
            row = found.fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, reply: str) -> None:
        """Keep a reply; the first one under a key stays.

        Raises:
            sqlite3.Error: the file cannot be written.
        """
        with self._lock:
            self._database.execute("INSERT OR IGNORE INTO verdicts (key, reply) VALUES (?, ?)", (key, reply))

    def __len__(self) -> int:
        with self._lock:
            return int(self._database.execute("SELECT count(*) FROM verdicts").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


def _write_ahead(database: sqlite3.Connection) -> None:
    """Let readers go on while somebody writes. Changing the mode fails at once, whatever the timeout, where another
    process is changing it."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.05)


def usual_path() -> Path:
    """Return where verdicts are kept if nothing else is said: ``$REASONRL_CACHE``, or the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("REASONRL_CACHE") or Path(base) / "reasonrl") / "judge.sqlite"
