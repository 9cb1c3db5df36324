# expect: passed
import ctypes
import mmap

libc = ctypes.CDLL(None)
page = mmap.mmap(-1, 32 << 20, mmap.MAP_PRIVATE)
locked = libc.mlock(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page))), ctypes.c_size_t(32 << 20)) == 0


def add(a, b):
    return "locked memory" if locked else a + b
