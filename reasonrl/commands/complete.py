"""What the shell offers for an argument when the user presses the tab key. Nothing here imports torch.

A mistake in a plugin must not print into the user's prompt, so whatever cannot be listed offers nothing.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from reasonrl.errors import ReasonRLError

RUN_FILES: Final = (".yaml", ".yml")
"""Endings of run files."""


def run_files(incomplete: str) -> list[str]:
    """Return recipes, run files and the folders on the way to them."""
    return [*_beginning(incomplete, _installed("configs")), *_paths(incomplete, RUN_FILES)]


def suites(incomplete: str) -> list[str]:
    """Return the installed suites, and files that may declare one."""
    return [*_beginning(incomplete, _installed("suites")), *_paths(incomplete, RUN_FILES)]


def run_directories(incomplete: str) -> list[str]:
    """Return run directories, also those in ``runs``, and the folders on the way to them."""
    found = [str(path.parent) for path in Path("runs").glob("*/manifest.json")]
    return list(dict.fromkeys([*_beginning(incomplete, found), *_paths(incomplete, ())]))


def checkpoints(incomplete: str) -> list[str]:
    """Return run directories, and ``DIR@STEP`` for the checkpoints of one that stands there with its ``@``."""
    head, at, _ = incomplete.partition("@")
    if not at:
        return run_directories(head)
    steps = sorted(int(path.name.rpartition("_")[2]) for path in Path(head, "checkpoints").glob("step_*"))
    return [*_beginning(incomplete, (f"{head}@{step}" for step in steps))]


def _installed(kind: str) -> Iterator[str]:
    from reasonrl.plugins.lookup import installed_plugins

    with suppress(ReasonRLError):
        yield from installed_plugins().entries(kind)  # type: ignore[arg-type]  # one of the kinds


def _beginning(incomplete: str, names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if name.startswith(incomplete))


def _paths(incomplete: str, endings: tuple[str, ...]) -> Iterator[str]:
    """Yield the files with one of the endings, and the folders, that begin as the word does."""
    folder, _, _ = incomplete.rpartition("/")
    head = f"{folder}/" if "/" in incomplete else ""
    with suppress(OSError):
        for path in sorted(Path(head or ".").iterdir()):
            name = f"{head}{path.name}"
            is_hidden = path.name.startswith(".")
            if name.startswith(incomplete) and not is_hidden and (path.is_dir() or path.suffix in endings):
                yield f"{name}/" if path.is_dir() and endings else name
