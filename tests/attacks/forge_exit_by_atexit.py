# expect: failed | runtime_error
import atexit
import os
import sys

atexit.register(os._exit, 0)


def add(a, b):
    sys.exit(1)
