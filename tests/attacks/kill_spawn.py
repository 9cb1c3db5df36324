# expect: passed
# levels: full container
import os

try:
    os.posix_spawn("/bin/true", ["true"], {})
    spawned = True
except OSError:
    spawned = False


def add(a, b):
    return "spawned" if spawned else a + b
