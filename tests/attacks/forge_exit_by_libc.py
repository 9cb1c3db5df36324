# expect: failed | runtime_error
import ctypes


def add(a, b):
    ctypes.CDLL(None).exit(0)
