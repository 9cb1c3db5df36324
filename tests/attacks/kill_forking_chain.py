# expect: passed
# host: no process is left, also where each has started the next before it is seen
import os
import time

end = time.time() + 3
try:
    if os.fork() == 0:
        os.setsid()
        while time.time() < end:
            if os.fork():
                os._exit(0)
        os._exit(0)
except OSError:
    pass


def add(a, b):
    return a + b
