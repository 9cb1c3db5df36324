# expect: failed | runtime_error | passed
import os


def add(a, b):
    os.closerange(0, 256)
    return a + b
