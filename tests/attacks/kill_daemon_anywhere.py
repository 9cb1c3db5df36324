# expect: passed
# host: no process is left, also where starting one is allowed
import os
import time

try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64)
            time.sleep(20)
        os._exit(0)
except OSError:
    pass


def add(a, b):
    return a + b
