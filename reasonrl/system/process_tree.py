"""Which process ends with which, so that nothing that a reward or a server started outlives the trainer.

Linux ties processes together; elsewhere only process groups and closed sockets do. Imports little: `supervise` loads it
without the rest of the package.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
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


def become_subreaper() -> None:
    """Become the parent of what this process's descendants leave behind, so that it can be found and ended."""
    if _prctl is not None:
        _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """Return the processes whose parent this process is; none where the system does not tell."""
    found: set[int] = set()
    with suppress(FileNotFoundError):  # not Linux
        for thread in os.listdir("/proc/self/task"):
            with suppress(FileNotFoundError), open(f"/proc/self/task/{thread}/children") as file:
                found.update(map(int, file.read().split()))
    return found


def signal_group(leader: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a process and all of its group a signal; a group that is gone already is fine."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def kill(process: int) -> None:
    """Kill one process; one that is gone already is fine."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)
