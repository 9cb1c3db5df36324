# expect: passed
# levels: full container
import ctypes
import os
import platform

number = 304 if platform.machine() == "x86_64" else 265
libc = ctypes.CDLL(None, use_errno=True)
handle = ctypes.create_string_buffer(b"\x08\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00", 16)
descriptor = libc.syscall(number, os.open("/", os.O_PATH), handle, 0)
refused = ctypes.get_errno() in (1, 38)  # EPERM, ENOSYS


def add(a, b):
    return a + b if descriptor < 0 and refused else "opened by handle"
