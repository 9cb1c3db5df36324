# expect: passed
# levels: full container
# host: no process is left
import os
import time

children = 0
try:
    for _ in range(100):
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)
        children += 1
except OSError:
    pass


def add(a, b):
    return "forked" if children else a + b
