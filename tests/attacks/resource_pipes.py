# expect: passed
# host: kernel memory
import fcntl
import os

filled = 0
try:
    for _ in range(200):
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            fcntl.fcntl(writer, 1031, 1 << 20)
        except OSError:
            pass
        filled += os.write(writer, b"x" * (1 << 20))
except OSError:
    pass
os.closerange(20, 500)


def add(a, b):
    return f"{filled >> 20} MiB" if filled > 64 << 20 else a + b
