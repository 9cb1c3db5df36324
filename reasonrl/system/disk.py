"""Errors of the disk, in words: what could not be written, where, and what to do."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reasonrl.errors import RunError

_FULL_BYTES = 1_000_000
"""A disk with less free space than this is full."""


@contextmanager
def disk_errors(path: Path, then: str) -> Iterator[None]:
    """Turn the system's errors while writing ``path`` into a RunError.

    Args:
        path: what is written.
        then: what to do once the cause is gone, such as ``then start the run again.``
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"{_explain(error, path)}, {then}") from error


@contextmanager
def full_disk_recognized(folder: Path) -> Iterator[None]:
    """Raise OSError when code that writes into a folder fails for lack of space.

    torch, safetensors and tokenizers each report a full disk as an error of their own, without its number.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # whatever it is: renamed when it means a full disk, otherwise raised again
        if not _means_full(error, folder):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


def _means_full(error: Exception, folder: Path) -> bool:
    """Tell by the message, or by the disk: torch fills it and then speaks of positions in its file."""
    return os.strerror(errno.ENOSPC) in str(error) or shutil.disk_usage(folder).free < _FULL_BYTES


def _explain(error: OSError, path: Path) -> str:
    """Say what is wrong and how to mend it."""
    folder = _existing(Path(error.filename or path).parent)
    if error.errno == errno.ENOSPC:
        free_gb = shutil.disk_usage(folder).free / 1e9
        return f"disk full while writing {path}: {free_gb:.1f} GB free in {folder}. Free some space"
    if error.errno == errno.EDQUOT:
        return f"disk quota used up while writing {path}. Free some of your space in {folder}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"may not write {path}: {os.strerror(error.errno)}. Make {folder} writable for this user"
    return f"cannot write {path}: {error}. Mend that"


def _existing(folder: Path) -> Path:
    return folder if folder.exists() or folder == folder.parent else _existing(folder.parent)
