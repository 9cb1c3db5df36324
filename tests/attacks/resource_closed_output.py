# expect: passed
import os
import sys

sys.stdout.close()
os.close(1)
os.close(2)


def add(a, b):
    return a + b
