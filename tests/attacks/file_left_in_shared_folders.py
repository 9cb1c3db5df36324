# expect: passed
# levels: full container
# host: nothing of the name reasonrl-attack is left
import contextlib
import os

for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run", "/var/lock", "/run/lock", os.path.expanduser("~")):
    with contextlib.suppress(OSError), open(f"{folder}/reasonrl-attack", "w") as file:
        file.write("was here")


def add(a, b):
    return a + b
