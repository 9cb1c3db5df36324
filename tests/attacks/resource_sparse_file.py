# expect: passed
# host: free disk
import os

size = 0
try:
    with open("sparse", "wb") as file:
        os.ftruncate(file.fileno(), 1 << 32)
        size = os.fstat(file.fileno()).st_size
except OSError:
    pass


def add(a, b):
    return "grew" if size else a + b
