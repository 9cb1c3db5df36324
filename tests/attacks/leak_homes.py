# expect: passed
# levels: full container
# host: but for folders on the way to the interpreter
import os
import sys

found = []
for path in ("/root", "/home", "/var/tmp", "/mnt", "/srv", "/opt", "CANARY_FOLDER"):
    try:
        found += [p for p in (os.path.join(path, name) for name in os.listdir(path)) if not sys.base_prefix.startswith(p)]
    except OSError:
        pass


def add(a, b):
    return f"{found}" if found else a + b
