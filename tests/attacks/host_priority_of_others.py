# expect: passed | runtime_error | failed
# levels: full container
# host: priority, policy, processors and limits of the canary process, which is of the same user
import contextlib
import ctypes
import os
import platform

with contextlib.suppress(OSError):
    os.setpriority(os.PRIO_PROCESS, CANARY_PID, 19)
with contextlib.suppress(OSError):
    os.setpriority(os.PRIO_USER, os.getuid(), 19)
with contextlib.suppress(OSError):
    os.setpriority(os.PRIO_PGRP, CANARY_PID, 19)
with contextlib.suppress(OSError):
    os.sched_setaffinity(CANARY_PID, {max(os.sched_getaffinity(0))})
with contextlib.suppress(OSError):
    os.sched_setscheduler(CANARY_PID, os.SCHED_IDLE, os.sched_param(0))
ctypes.CDLL(None).syscall(251 if platform.machine() == "x86_64" else 30, 1, CANARY_PID, 3 << 13)  # ioprio_set: idle


def add(a, b):
    return a + b
