# expect: passed
# limits: {"memory_mib": 192}
# levels: full container
# host: memory that is shared and no longer mapped counts against nobody
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
SIZE = 16 << 20
held = 0
for _ in range(24):
    place = libc.mmap(None, SIZE, 3, 0x21, -1, 0)
    if place in (None, 2**64 - 1):
        break
    ctypes.memset(place, 1, SIZE)
    libc.munmap(place + 4096, SIZE - 4096)
    held += SIZE


def add(a, b):
    return a + b if not held else held
