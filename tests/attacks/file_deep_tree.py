# expect: passed | output_limit
# host: no folder is left
import os

try:
    for _ in range(1200):
        os.mkdir("d" * 60)
        os.chdir("d" * 60)
except OSError:
    pass


def add(a, b):
    return a + b
