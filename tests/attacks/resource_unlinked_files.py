# expect: passed | output_limit
# host: disk, also of files without a name
import os

written = 0
kept = []
try:
    for number in range(500):
        kept.append(os.open("file", os.O_CREAT | os.O_RDWR))
        written += os.write(kept[-1], b"x" * ((1 << 20) - 1))
        os.remove("file")
except OSError:
    pass


def add(a, b):
    return f"{written >> 20} MiB" if written > 80 << 20 else a + b
