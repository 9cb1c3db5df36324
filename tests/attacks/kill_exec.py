# expect: passed
# levels: full container
import os
import sys

try:
    os.execv(sys.executable or "/usr/bin/python3", ["python", "-c", "print('again')"])
except OSError:
    pass


def add(a, b):
    return a + b
