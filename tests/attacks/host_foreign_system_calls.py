# expect: passed | runtime_error
# levels: full container
# host: calls of another ABI are no way past the filter
import ctypes
import mmap
import os
import platform

escaped = False
if platform.machine() == "x86_64":
    libc = ctypes.CDLL(None)
    for number in (57, 41):  # fork and socket as x32
        done = libc.syscall(0x40000000 | number, 2, 1, 0)
        if done == 0 and number == 57:
            os._exit(0)
        escaped = escaped or done >= 0


def add(a, b):
    return "called through x32" if escaped else a + b
