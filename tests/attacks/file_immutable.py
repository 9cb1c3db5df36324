# expect: passed
# host: no folder is left
import contextlib
import fcntl
import os
import struct

frozen = False
with contextlib.suppress(OSError):
    descriptor = os.open("kept", os.O_CREAT | os.O_RDWR)
    fcntl.ioctl(descriptor, 0x40086602, struct.pack("l", 0x10))  # FS_IOC_SETFLAGS, immutable
    fcntl.ioctl(descriptor, 0x40086602, struct.pack("l", 0))
    frozen = True


def add(a, b):
    return "made a file immutable" if frozen else a + b
