"""Which process ends with which: so that nothing a reward started outlives the trainer.

Linux ties processes together; elsewhere only process groups and closed sockets do.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
"""From linux/prctl.h."""

_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def end_with(parent: int, number: signal.Signals) -> None:
    """Have this process sent a signal when its parent ends; end at once if that has happened already."""
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of what this process's descendants leave behind, so that it can be found."""
    if _prctl is not None:
        _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """Return the processes whose parent this process is; none where the system does not tell."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for of_thread in lists for pid in of_thread.read_text().split()}


def kill_group(leader: int) -> None:
    """Kill a process and all of its group; one that is gone already is fine."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def kill(process: int) -> None:
    """Kill one process; one that is gone already is fine."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)
