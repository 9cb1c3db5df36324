# expect: runtime_error
import ctypes


def add(a, b):
    ctypes.memset(id(add), 0xFF, 256)
    ctypes.memset(id(type(add)), 0xFF, 256)
    return add(a, b)
