# expect: passed
# levels: full container
# host: run more than once; no run finds what another left
import contextlib
import os
import tempfile

found = []
for folder in (".", "/tmp", "/var/tmp", "/dev/shm", "/run", tempfile.gettempdir()):
    path = f"{folder}/reasonrl-message-{os.getuid()}"
    found += [path] if os.path.exists(path) and folder not in found else []
for folder in (".", "/tmp", "/dev/shm"):
    with contextlib.suppress(OSError), open(f"{folder}/reasonrl-message-{os.getuid()}", "w") as file:
        file.write("hello")


def add(a, b):
    return f"{found}" if found else a + b
