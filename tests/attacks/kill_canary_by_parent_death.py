# expect: passed | runtime_error
# levels: full container
# host: the canary process lives
import ctypes
import os

libc = ctypes.CDLL(None)
libc.prctl(1, 9, 0, 0, 0)
libc.prctl(36, 1, 0, 0, 0)
libc.setpgid(CANARY_PID, os.getpid())
libc.setpgid(0, CANARY_PID)


def add(a, b):
    return a + b
