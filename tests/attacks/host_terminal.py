# expect: passed
# host: nothing is typed into a terminal
import fcntl
import os

typed = []
for path in (0, 1, 2, "/dev/tty", "/dev/console", "/dev/tty0", "/dev/pts/0"):
    try:
        descriptor = path if isinstance(path, int) else os.open(path, os.O_RDWR | os.O_NOCTTY)
        fcntl.ioctl(descriptor, 0x5412, b" ")  # TIOCSTI
        typed.append(path)
    except OSError:
        pass


def add(a, b):
    return f"{typed}" if typed else a + b
