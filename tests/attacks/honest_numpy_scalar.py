# expect: passed
try:
    from numpy import int64 as whole
except ImportError:
    whole = int


def add(a, b):
    return whole(a) + whole(b)
