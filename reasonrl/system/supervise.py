"""Runs one server and ends all that came of it with the trainer: ``python -I -S supervise.py TRAINER_PID COMMAND...``.

A program of its own, run as a file, that imports only `process_tree` of this package, so that it starts at once. It
watches its parent rather than a pipe, whose other end may live on in processes that a killed trainer had forked. The
server's output goes to standard error, its process group to standard output.
"""

import os
import signal
import subprocess
import sys
import time
from math import inf
from types import ModuleType

POLL_S = 0.1
"""Seconds between looks at the trainer and at the server."""

GRACE_S = 5.0
"""Seconds that the server has to end by itself before it is killed."""

if __name__ == "__main__":  # an empty package in place of `reasonrl`, whose `__init__` takes a quarter of a second
    package = sys.modules["reasonrl"] = ModuleType("reasonrl")
    package.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]

from reasonrl.system import process_tree  # noqa: E402


def supervise(trainer: int, command: list[str]) -> int:
    """Run a command until it ends, the trainer is gone, or SIGTERM comes; then end all that came of it.

    Returns:
        What the server returned; 128 more than the signal's number where one ended it.
    """
    told_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told_to_stop.append(number))
    process_tree.become_subreaper()
    supervisor = os.getpid()
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        process_group=0,
        preexec_fn=lambda: process_tree.end_with(supervisor, signal.SIGTERM),
    )
    print(server.pid, flush=True)
    while server.poll() is None and not told_to_stop and os.getppid() == trainer:
        time.sleep(POLL_S)
    _end(server)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def _end(server: "subprocess.Popen[bytes]") -> None:
    """Ask the server and its children to end, then kill them; return when none is left."""
    for number, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, inf)):
        process_tree.signal_group(server.pid, number)
        deadline = time.monotonic() + patience_s
        while not _all_gone(server) and time.monotonic() < deadline:
            time.sleep(POLL_S)


def _all_gone(server: "subprocess.Popen[bytes]") -> bool:
    """Reap the processes that have ended, and say whether those were all."""
    if server.poll() is None:
        return False
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), sys.argv[2:]))
