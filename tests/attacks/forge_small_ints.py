# expect: failed | runtime_error
import ctypes


def add(a, b):
    for number in range(100):
        ctypes.c_uint32.from_address(id(number) + 24).value = 5
    return 5
