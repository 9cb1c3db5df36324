"""The lock of a run: one process trains in it at a time."""

import fcntl
import os
from pathlib import Path

from reasonrl.errors import RunError

LOCK: str = ".lock"


def lock(path: Path) -> int:
    """Become the one process that writes the run, until the descriptor is closed or the process dies.

    The lock is also lost when the process opens and closes the file once more, so nothing else touches it.

    Raises:
        RunError: another process has it.
    """
    descriptor = os.open(path / LOCK, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        raise RunError(f"{path}: another process is training in this run. Stop it, or wait for its end.") from None
    return descriptor


def require_idle(path: Path) -> None:
    """Refuse a run that another process is training in.

    Raises:
        RunError: one is.
    """
    if (path / LOCK).exists():
        os.close(lock(path))
