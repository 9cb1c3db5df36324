# expect: passed
# levels: full container
# host: memory that is shared through a device counts against nobody
import mmap
import os

held = []
try:
    zero = os.open("/dev/zero", os.O_RDWR)
    held.append(mmap.mmap(zero, 1 << 20, mmap.MAP_SHARED))
except OSError:
    pass


def add(a, b):
    return a + b if not held else -1
