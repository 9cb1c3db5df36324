# expect: passed
# levels: full container
# host: the canary process lives
import contextlib
import ctypes
import os
import platform
import signal

pid, libc = CANARY_PID, ctypes.CDLL(None)
x86 = platform.machine() == "x86_64"
info = ctypes.create_string_buffer(b"\x09\x00\x00\x00" + bytes(4) + b"\xff\xff\xff\xff" + bytes(116), 128)
sent = [
    libc.kill(pid, 9),
    libc.syscall(200 if x86 else 130, pid, 9),
    libc.syscall(234 if x86 else 131, pid, pid, 9),
    libc.syscall(129 if x86 else 138, pid, 9, info),
    libc.syscall(297 if x86 else 240, pid, pid, 9, info),
    libc.killpg(pid, 9),
]
with contextlib.suppress(OSError, AttributeError):
    signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGKILL)
    sent.append(0)


def add(a, b):
    return f"{sent}" if 0 in sent else a + b
