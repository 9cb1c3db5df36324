# expect: passed | failed | runtime_error
# levels: full container
# host: the canary process lives
import contextlib
import fcntl
import os
import signal
import socket

ours, theirs = socket.socketpair()
for owner in (CANARY_PID, -CANARY_PID):
    with contextlib.suppress(OSError):
        fcntl.fcntl(ours, fcntl.F_SETOWN, owner)
        fcntl.fcntl(ours, 10, signal.SIGKILL)  # F_SETSIG
        fcntl.fcntl(ours, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        theirs.send(b"x")


def add(a, b):
    return a + b
