# expect: passed
# levels: full container
import os

try:
    os.kill(-1, 0)  # Signal 0 asks whether one might.
    reached = True
except OSError:
    reached = False


def add(a, b):
    return "others are in reach" if reached else a + b
