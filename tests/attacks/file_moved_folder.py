# expect: passed
# host: no folder is left
import contextlib
import os


def add(a, b):
    folder = os.getcwd()
    with contextlib.suppress(OSError):
        os.rename(folder, folder + ".moved")
    return a + b
