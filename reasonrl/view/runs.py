"""The runs under a folder, by the names that URLs hold; nothing outside the folder is ever opened."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reasonrl.errors import ConfigError, ReasonRLError, RunError
from reasonrl.run.files.manifest import read_manifest
from reasonrl.run.history import History, runs_under
from reasonrl.types import digest

PARTS: Final = (
    *("manifest.json", "config.resolved.yaml", "metrics.jsonl", "events.jsonl"),
    *("checkpoints", "evals", "rollouts", "report.html"),
)
"""What changes in a run directory when there is something new to see."""

NOT_READ: Final = ("checkpoints", "model")
"""Folders of a run directory whose files are never opened."""


class NotFoundError(ReasonRLError):
    """What a URL names is not there."""


class RunFolder:
    """The run directories in a folder, or the folder itself where it is one.

    Args:
        folder: nothing outside it is opened, whatever links in it lead to.

    Raises:
        RunError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            what = "is no folder" if folder.exists() else "there is no such folder"
            raise RunError(f"{folder}: {what}. Name a run directory, or a folder that holds some: reasonrl view runs")
        self.root = folder.resolve()

    def paths(self) -> dict[str, Path]:
        """Return the run directories by name; those that links lead out of the folder to are left out."""
        return {path.name: path for path in runs_under(self.root) if self.holds(path)}

    def path(self, name: str) -> Path:
        """Return a run directory.

        Raises:
            NotFoundError: there is none of this name.
        """
        found = self.paths().get(name)
        if found is None:
            raise NotFoundError(f"there is no run {name!r} here.")
        return found

    def open(self, name: str) -> History:
        """Return a run as it is now.

        Raises:
            NotFoundError: there is none of this name.
            RunError: it cannot be read, or a link in it leads out of the folder.
        """
        path = self._linkless(name)
        try:
            return History.open(path)
        except ConfigError as error:  # of another version: nobody has asked for anything wrongly
            raise RunError(f"{path}: its settings cannot be read: {error}") from None

    def rollouts_of(self, name: str) -> tuple[Path, str]:
        """Return a run's directory and id, also where its settings are those of another version.

        Raises:
            NotFoundError: there is none of this name.
            RunError: its manifest cannot be read, or a link in it leads out of the folder.
        """
        path = self._linkless(name)
        return path, read_manifest(path / "manifest.json").run_id

    def _linkless(self, name: str) -> Path:
        """Return a run directory in which no link leads out of the folder."""
        path = self.path(name)
        if link := next(self._links_out(path), None):
            raise RunError(f"{link}: a link that leads out of {self.root}, which is not followed.")
        return path

    def holds(self, path: Path) -> bool:
        """Say whether a path, all links followed, is in the folder."""
        return path.resolve().is_relative_to(self.root)

    def _links_out(self, folder: Path) -> Iterator[Path]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink() and not self.holds(Path(entry.path)):
                    yield Path(entry.path)
                elif entry.is_dir() and entry.name not in NOT_READ:
                    yield from self._links_out(Path(entry.path))


def version_of(run: Path) -> str:
    """Return a text that is another one as soon as there is something new to see of a run."""
    return digest(*(_stamp(run / part) for part in PARTS))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
