"""A folder for programs' files where there are no mount namespaces: measured while they run, emptied afterwards."""

import errno
import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import suppress

MAX_FILES = 2048
"""Files and folders of one program."""


def inside(folder: str) -> str:
    """Return the folder for a program's files, inside of a server's folder."""
    return os.path.join(folder, "work")


def make(path: str) -> None:
    """Create the folder, and delete everything else beside it."""
    around = os.path.dirname(path)
    os.makedirs(around, 0o700, exist_ok=True)
    empty(around)
    os.mkdir(path, 0o700)


def remove(folder: str) -> None:
    """Delete a server's folder with all that is in it."""
    empty(folder)
    os.rmdir(folder)


def overfull(path: str, max_bytes: int, *, ended: bool = False) -> bool:
    """Return whether a program's files are too large or too many. They may change meanwhile.

    Args:
        path: the folder.
        max_bytes: their limit.
        ended: whether the program has ended. While it runs, a folder that cannot be listed counts as too large, because
            more could be hidden there; what is left of it hides nothing any more.
    """
    size = 0
    for count, entry in enumerate(_entries(path)):
        with suppress(OSError):
            size += 0 if entry is None else entry.stat(follow_symlinks=False).st_blocks * 512
        if (entry is None and not ended) or count >= MAX_FILES or size > max_bytes:
            return True
    return False


def _entries(path: str) -> Iterator["os.DirEntry[str] | None"]:
    """Yield everything below a folder, and None for a folder with too long a path or without access."""
    folders = [path]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    yield entry
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError as error:
            if error.errno in (errno.ENAMETOOLONG, errno.EACCES):
                yield None


def empty(path: str) -> None:
    """Delete all that a program left.

    Contents of a folder are moved up instead of followed down: paths may be longer than the kernel accepts, and a
    recursion could run out of stack or descriptors. Modes are reset first, because a program may have removed its own
    access.
    """
    numbers = itertools.count()
    os.chmod(path, 0o700)
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    while names := os.listdir(top):
        for name in names:
            _delete(top, name, numbers)
    os.close(top)


def _delete(top: int, name: str, numbers: Iterator[int]) -> None:
    if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=top)
        return
    os.chmod(name, 0o700, dir_fd=top)
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
    for inside in os.listdir(folder):
        if stat.S_ISDIR(os.stat(inside, dir_fd=folder, follow_symlinks=False).st_mode):
            os.chmod(inside, 0o700, dir_fd=folder)
            os.rename(inside, _unused(top, numbers), src_dir_fd=folder, dst_dir_fd=top)
        else:
            os.unlink(inside, dir_fd=folder)
    os.close(folder)
    os.rmdir(name, dir_fd=top)


def _unused(top: int, numbers: Iterator[int]) -> str:
    """Return a name that the program has not taken."""
    for number in numbers:
        name = f".{number}"
        try:
            os.stat(name, dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            return name
    raise AssertionError("numbers do not end")
