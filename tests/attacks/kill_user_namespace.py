# expect: passed
# levels: full container
import ctypes
import os

libc = ctypes.CDLL(None)
entered = [flag for flag in (0x10000000, 0x20000, 0x40000000, 0x8000000, 0x20000000) if libc.unshare(flag) == 0]


def add(a, b):
    return f"{entered}" if entered else a + b
