# expect: passed | runtime_error
# levels: full container
# host: calls of 32 bits are no way past the filter
import ctypes
import mmap
import platform

answer = -1
if platform.machine() == "x86_64":
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("53b867010000bb02000000b901000000ba00000000cd805bc3"))  # socket(2, 1, 0) by int 0x80
    answer = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def add(a, b):
    return "called through int 0x80" if answer >= 0 else a + b
