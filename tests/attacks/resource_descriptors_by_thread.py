# expect: passed
# levels: full container
# host: descriptors are limited for all threads together
import ctypes
import os
import platform

number = {"x86_64": 436, "aarch64": 436}.get(platform.machine(), 436)
unshared = ctypes.CDLL(None).syscall(number, 900, 1000, 2) == 0  # CLOSE_RANGE_UNSHARE
os.closerange(900, 1000)


def add(a, b):
    return a + b if not unshared else -1
