# expect: passed
import os

opened = 0
try:
    for _ in range(5000):
        os.dup(0)
        opened += 1
except OSError:
    pass
os.closerange(20, 5100)


def add(a, b):
    return f"{opened} descriptors" if opened > 64 else a + b
