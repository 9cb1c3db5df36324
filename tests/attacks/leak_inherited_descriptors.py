# expect: passed
# host: but for the program's own text, its answers, and folders to import from
import os
import stat

here = []
for descriptor in range(3, 256):
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            here.append((descriptor, os.fstat(descriptor)))
    except OSError:
        pass


def add(a, b):
    return f"{here}" if len(here) > 2 else a + b
