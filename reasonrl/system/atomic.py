"""Replace files and folders so that a kill or a power cut leaves the old or the new, never half of one."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path


def partial_of(path: Path) -> Path:
    """Return where a file or folder is written before it gets its name, or stands while it is removed."""
    return path.with_name(f".{path.name}.partial")


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside and rename; what could not be written leaves nothing behind."""
    write_together({path: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Replace several files, in their order, once all of them are on the disk: a full one changes none of them."""
    partials = {path: partial_of(path) for path in contents}
    try:
        for path, partial in partials.items():
            _write(partial, contents[path])
        for path, partial in partials.items():
            os.replace(partial, path)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def publish_folder(partial: Path, path: Path) -> None:
    """Give a finished folder its name, after everything in it has reached the disk."""
    for folder, _, files in os.walk(partial):
        for name in files:
            sync(Path(folder, name))
        sync(Path(folder))
    os.rename(partial, path)
    sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file or folder; a folder loses its name first, so that nobody meets half of one."""
    if not path.is_dir():
        path.unlink()
        return
    partial = partial_of(path)
    os.rename(path, partial)
    shutil.rmtree(partial)


def remove_partials(folder: Path) -> None:
    """Remove what a killed process had not finished writing or removing."""
    for partial in sorted(folder.rglob(".*.partial")):
        if partial.is_dir():
            shutil.rmtree(partial)
        elif partial.exists():
            partial.unlink()


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are safe from a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
