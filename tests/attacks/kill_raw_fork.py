# expect: passed
# levels: full container
# host: no process is left
import ctypes
import os
import platform

libc = ctypes.CDLL(None)
numbers = {"x86_64": (57, 56, 435), "aarch64": (220, 220, 435)}[platform.machine()]
own = os.getpid()
forked = []
for number in numbers:
    arguments = (17, 0, 0, 0, 0)  # SIGCHLD
    if number == 435:
        block = ctypes.create_string_buffer(88)
        block[32] = 17
        arguments = (block, 88)
    pid = libc.syscall(number, *arguments)
    if pid == 0:
        os._exit(0)
    forked.append(pid > 0)


def add(a, b):
    return f"{forked}" if any(forked) else a + b
