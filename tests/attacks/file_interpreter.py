# expect: passed
# levels: full container
# host: opens without writing
import os
import sys

opened = []
for path in (os.__file__, sys.executable, os.path.dirname(os.__file__) + "/canary_of_attack.py"):
    try:
        os.close(os.open(path, os.O_WRONLY | (os.O_CREAT if "canary" in path else 0)))
        opened.append(path)
        if "canary" in path:
            os.remove(path)
    except OSError:
        pass


def add(a, b):
    return f"{opened}" if opened else a + b
