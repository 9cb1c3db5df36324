"""Errors of the disk, in words: what could not be written, where, and what to do."""

import errno
import os
import shutil
import tempfile
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
    """Raise OSError when code that writes into a folder fails because the system takes no more.

    torch, safetensors and tokenizers each report that as an error of their own, without its number.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # whatever it is: renamed when it means that, otherwise raised again
        number = _refusal(error, folder)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(folder)) from error


def require_writable(path: Path, then: str) -> None:
    """Refuse a file or folder that could not be written, before the work that is to fill it; nothing is left behind.

    Raises:
        RunError: the nearest folder that is there cannot hold anything new; see :func:`disk_errors` for ``then``.
    """
    with disk_errors(path, then):
        folder = path if path.is_dir() else _existing(path.parent)
        try:
            descriptor, name = tempfile.mkstemp(prefix=".reasonrl-", dir=folder)
        except OSError as error:
            raise OSError(error.errno, error.strerror) from None  # without the name that nobody has chosen
        os.close(descriptor)
        Path(name).unlink()


def _refusal(error: Exception, folder: Path) -> int | None:
    """Tell by the message, or by the disk: torch fills it and then speaks of positions in its file."""
    named = (number for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if os.strerror(number) in str(error))
    is_full = shutil.disk_usage(folder).free < _FULL_BYTES
    return next(named, errno.ENOSPC if is_full else None)


def _explain(error: OSError, path: Path) -> str:
    """Say what is wrong and how to mend it."""
    folder = _existing(Path(error.filename or path).parent)
    if error.errno == errno.ENOSPC:
        free_gb = shutil.disk_usage(folder).free / 1e9
        return f"disk full while writing {path}: {free_gb:.1f} GB free in {folder}. Free some space"
    if error.errno == errno.EDQUOT:
        return f"disk quota used up while writing {path}. Free some of your space in {folder}"
    if error.errno == errno.EFBIG:
        return f"{path} is larger than this file system, or a limit of this process (ulimit -f), allows. Raise it"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"may not write {path}: {os.strerror(error.errno)}. Make {folder} writable for this user"
    return f"cannot write {path}: {error}. Mend that"


def _existing(folder: Path) -> Path:
    return folder if folder.exists() or folder == folder.parent else _existing(folder.parent)
