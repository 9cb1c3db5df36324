# expect: passed
# host: the next program still starts
import contextlib
import fcntl
import os

held = []
for path in (os.__file__, "/dev/null", "/dev/urandom"):
    with contextlib.suppress(OSError):
        held.append(os.open(path, os.O_RDONLY))
for descriptor in held:
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)


def add(a, b):
    return a + b
