# expect: passed
# levels: full container
# host: the canary folder is as it was
import os

written = False
for path in ("../" * 40 + "CANARY_FOLDER"[1:] + "/up", "/proc/self/root" + "CANARY_FOLDER" + "/root", "/proc/self/cwd/../../../../../.." + "CANARY_FOLDER" + "/cwd"):
    try:
        with open(path, "w"):
            written = True
    except OSError:
        pass


def add(a, b):
    return "wrote outside" if written else a + b
