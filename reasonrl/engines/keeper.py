"""Runs one server and sees to it that nothing of it outlives the trainer: ``python keeper.py TRAINER_PID COMMAND...``.

A program of its own that imports nothing of this package, so that it starts at once. It watches its parent rather than
a pipe, whose other end may live on in processes that a killed trainer had forked. The server's output goes to standard
error, its process group to standard output.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf

POLL_S = 0.1
"""Seconds between looks at the trainer and at the server."""

GRACE_S = 5.0
"""Seconds that the server has to end by itself before it is killed."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""From linux/prctl.h."""

_prctl = ctypes.CDLL(None).prctl


def keep(trainer: int, command: list[str]) -> int:
    """Run a command until it ends, the trainer is gone, or SIGTERM comes; then end all that came of it.

    Returns:
        What the server returned; 128 more than the signal's number where one ended it.
    """
    told_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told_to_stop.append(number))
    _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what the server leaves behind becomes our child
    server = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr, process_group=0, preexec_fn=_end_with(os.getpid())
    )
    print(server.pid, flush=True)
    while server.poll() is None and not told_to_stop and os.getppid() == trainer:
        time.sleep(POLL_S)
    _end(server)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def _end_with(keeper: int) -> Callable[[], None]:
    """Return what a new process calls so that it is told to end when the keeper is killed."""

    def apply() -> None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != keeper:  # killed before the line above
            os._exit(1)

    return apply


def _end(server: "subprocess.Popen[bytes]") -> None:
    """Ask the server and its children to end, then kill them; return when none is left."""
    for number, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, inf)):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        deadline = time.monotonic() + patience_s
        while not _all_gone(server) and time.monotonic() < deadline:
            time.sleep(POLL_S)


def _all_gone(server: "subprocess.Popen[bytes]") -> bool:
    """Take note of the processes that have ended, and say whether that was all."""
    if server.poll() is None:
        return False
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(keep(int(sys.argv[1]), sys.argv[2:]))
