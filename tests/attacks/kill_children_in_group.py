# expect: passed
# host: no process is left
import os
import time

try:
    for _ in range(4):
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
except OSError:
    pass


def add(a, b):
    return a + b
