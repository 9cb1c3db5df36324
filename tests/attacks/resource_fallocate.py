# expect: passed
# host: free disk
import os

size = 0
try:
    with open("space", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 28)
        size = os.fstat(file.fileno()).st_size
except OSError:
    pass


def add(a, b):
    return "grew" if size else a + b
