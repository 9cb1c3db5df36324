# expect: runtime_error | failed
import ctypes
import gc


def add(a, b):
    chain = [[] for _ in range(1000)]
    for thing in chain:
        ctypes.c_ssize_t.from_address(id(thing)).value = 0
    del chain
    gc.collect()
    raise RuntimeError("lived")
