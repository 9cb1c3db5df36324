# expect: passed
# levels: full container
# host: free space of the disk
import ctypes
import os

descriptor = os.open("file", os.O_CREAT | os.O_RDWR)
os.unlink("file")
libc = ctypes.CDLL(None, use_errno=True)
taken = libc.fallocate(descriptor, 1, ctypes.c_long(0), ctypes.c_long(400 << 20)) == 0  # FALLOC_FL_KEEP_SIZE


def add(a, b):
    return a + b if not taken else -1
