# expect: passed
# levels: full container
import ctypes

libc = ctypes.CDLL(None)
ring = libc.syscall(425, 4, ctypes.create_string_buffer(120))


def add(a, b):
    return "made a ring" if ring >= 0 else a + b
