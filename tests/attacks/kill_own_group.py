# expect: passed | failed | runtime_error
# host: nobody else is in the group
import os
import signal


def add(a, b):
    os.killpg(0, signal.SIGKILL)
    return a + b
