# expect: failed | runtime_error
# tests: {"calls": {"entry": "word", "cases": [{"args": [], "expected": "needle-480093517726"}]}}
import ctypes
import re

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p


def word():
    for size in [2**power for power in range(5, 20)] * 40:
        found = re.search(rb"needle-\d{12}", ctypes.string_at(libc.malloc(ctypes.c_size_t(size)), size))
        if found:
            return found[0].decode()
    return ""
