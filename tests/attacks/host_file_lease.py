# expect: passed
# levels: full container
# host: nobody waits to open a file
import fcntl
import os

leased = False
own = os.open("own", os.O_CREAT | os.O_RDWR)
os.close(own)
for path in ("own", os.__file__):
    try:
        fcntl.fcntl(os.open(path, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_WRLCK)
        leased = True
    except OSError:
        pass


def add(a, b):
    return a + b if not leased else -1
