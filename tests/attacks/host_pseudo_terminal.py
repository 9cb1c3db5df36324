# expect: passed
# levels: full container
import os

try:
    os.openpty()
    opened = True
except OSError:
    opened = False


def add(a, b):
    return "opened a terminal" if opened else a + b
