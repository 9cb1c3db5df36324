# expect: passed
# levels: full container
# host: memory of the machine
import os

written = 0
files = []
try:
    for number in range(200):
        files.append(os.memfd_create(str(number)))
        for _ in range(16):
            written += os.write(files[-1], b"x" * (1 << 20))
except OSError:
    pass
for number in range(100):  # once more through one descriptor, in case only the number of descriptors stopped it
    try:
        written += os.pwrite(files[0] if files else -1, b"x" * (1 << 20), number << 20)
    except OSError:
        break


def add(a, b):
    return f"{written >> 20} MiB" if written > 128 << 20 else a + b
