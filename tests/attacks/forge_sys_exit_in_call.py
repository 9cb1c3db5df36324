# expect: failed | runtime_error
import sys


def add(a, b):
    sys.exit()
