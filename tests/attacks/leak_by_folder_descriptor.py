# expect: passed
# levels: full container
# host: a folder that is open for imports is no way out
import os

found = []
for folder in (".", "/", "/usr", "/lib"):
    try:
        os.open(folder, os.O_RDONLY)
    except OSError:
        pass
for descriptor in range(3, 512):
    for path in ("../" * 20 + "CANARY_FOLDER/secret"[1:], "../../../../etc/passwd", "etc/shadow"):
        try:
            found.append(os.read(os.open(path, os.O_RDONLY, dir_fd=descriptor), 16))
        except OSError:
            pass


def add(a, b):
    return f"{found}" if found else a + b
