# expect: passed
try:
    import numpy
except ImportError:
    numpy = None


def add(a, b):
    return int(numpy.array([a, b]).sum()) if numpy else a + b
