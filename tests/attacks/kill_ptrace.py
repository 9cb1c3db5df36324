# expect: passed
# levels: full container
import ctypes
import os

libc = ctypes.CDLL(None)
attached = []
for pid in {os.getppid(), CANARY_PID} - {0, 1}:
    for request in (16, 0x4206):  # ATTACH, SEIZE
        if libc.ptrace(request, pid, 0, 0) == 0:
            attached.append(pid)
            libc.ptrace(17, pid, 0, 0)


def add(a, b):
    return f"{attached}" if attached else a + b
