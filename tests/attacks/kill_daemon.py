# expect: passed
# levels: full container
# host: no process is left
import os
import time

forked = False
try:
    pid = os.fork()
    forked = True
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64)
            time.sleep(20)
        os._exit(0)
except OSError:
    pass


def add(a, b):
    return "forked" if forked else a + b
