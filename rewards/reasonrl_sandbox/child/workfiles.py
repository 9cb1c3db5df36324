"""Files that tests and program both use: each process of mode `split` may have a work folder of its own.

The program gets files of the tests only under paths that a test gives it, so that it cannot read what else they write.
The tests get what the program writes under those paths, and new files elsewhere in its work folder; never a module,
which an import of theirs could find.
"""

import os
import pathlib
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from reasonrl_sandbox.child.codec import MalformedError

MAX_FILES, MAX_BYTES = 100, 1 << 18
"""Files that are looked at, and the size up to which one is sent."""

_MODULES = (".py", ".pyc", ".pyo", ".pyd", ".so", ".pth", ".zip", ".egg", ".ini", ".cfg", ".toml")

_PATHS = (str, pathlib.PosixPath, pathlib.PurePosixPath)

# Any: contents by relative path; None for a folder.
Contents = dict[str, bytes | None]


class WorkFiles:
    """The files of one side."""

    def __init__(self, *, shares_all: bool) -> None:
        self.folder = tempfile.gettempdir()  # the work folder, whatever the program has done to it
        self.shares_all = shares_all
        self.given: set[str] = set()
        self.seen: dict[str, tuple[int, int]] = {}

    def give(self, value: Any) -> None:
        """Note the paths in what a test gives the program. Any: a value of any type."""
        todo, count = [value], 0
        while todo and count < MAX_FILES:
            each, count = todo.pop(), count + 1
            if type(each) in (tuple, list):
                todo += each
            elif type(each) is dict:
                todo += each.values()
            elif type(each) in _PATHS and len(text := str(each)) < 4096 and "\0" not in text:
                self.give_path(os.path.relpath(os.path.join(self.folder, text), self.folder))

    def give_path(self, path: str) -> None:
        """Note a path below the work folder that exists, or whose folder does."""
        if path.startswith("..") or not os.path.exists(os.path.dirname(os.path.join(self.folder, path)) or self.folder):
            return
        if os.path.exists(os.path.join(self.folder, path)) or os.path.dirname(path):
            self.given.add(path)

    def changes(self) -> Contents:
        """Return what has changed since the last time, of what the other side may have."""
        found: Contents = {}
        for path, is_folder in self.entries():
            if not (self.shares_all or self.is_given(path, is_folder)):
                continue
            with suppress(OSError):  # it is gone, or may not be read
                status = os.stat(path, follow_symlinks=False)
                mark = (0, 0) if is_folder else (status.st_mtime_ns, status.st_size)
                if self.seen.get(path) != mark:
                    self.seen[path] = mark
                    found[os.path.relpath(path, self.folder)] = None if is_folder else _content(path)
        return found

    def is_given(self, path: str, is_folder: bool) -> bool:
        """Return whether a test has given the program this path or a folder above it; folders lead to given paths."""
        relative = os.path.relpath(path, self.folder)
        below = (relative + os.sep,) if is_folder else ()
        return any(
            relative == each or relative.startswith(each + os.sep) or each.startswith(below) for each in self.given
        )

    def entries(self) -> Iterator[tuple[str, bool]]:
        """Yield files and folders in the work folder, folders first."""
        todo, count = [self.folder], 0
        while todo and count < MAX_FILES:
            for entry in _listed(todo.pop()):
                count += 1
                is_folder = entry.is_dir(follow_symlinks=False)
                if is_folder:
                    todo.append(entry.path)
                if (is_folder or entry.is_file(follow_symlinks=False)) and count < MAX_FILES:
                    yield entry.path, is_folder

    def apply(self, contents: Any) -> None:
        """Write what the other side sends; raises MalformedError where that may not be."""
        if type(contents) is not dict:
            raise MalformedError("files expected")
        for name, content in contents.items():
            self.write(name, content)

    def write(self, name: Any, content: Any) -> None:
        """Write one file, or make a folder."""
        if type(name) is not str or os.path.isabs(name) or ".." in name.split(os.sep) or "\0" in name:
            raise MalformedError("no path below the work folder")
        path = os.path.join(self.folder, name)
        try:
            if content is None:
                os.makedirs(path, exist_ok=True)
            elif type(content) is bytes and self.may_write(path):
                _write(path, content)
                status = os.stat(path, follow_symlinks=False)
                self.seen[path] = (status.st_mtime_ns, status.st_size)
        except OSError:  # this side has something else under that name
            return

    def may_write(self, path: str) -> bool:
        """Return whether the other side may write a file: the tests' own are theirs, unless they gave the path away."""
        if self.shares_all:
            return True
        return not path.endswith(_MODULES) and (self.is_given(path, False) or not os.path.lexists(path))


def _listed(folder: str) -> list["os.DirEntry[str]"]:
    """Return the first entries of a folder, none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(islice(entries, MAX_FILES))
    except OSError:
        return []


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(MAX_BYTES)


def _write(path: str, content: bytes) -> None:
    """Write a file unless it has this content, which is so where both sides have one folder."""
    if os.path.isfile(path) and _content(path) == content:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
