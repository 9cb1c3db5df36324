# expect: passed
import sys


def add(a, b):
    print("adding", a, b)
    print("debug", file=sys.stderr)
    return a + b
