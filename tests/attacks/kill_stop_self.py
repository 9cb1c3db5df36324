# expect: timeout | passed | failed | runtime_error
# limits: {"cpu_s": 0.5, "wall_s": 1.0}
import os
import signal


def add(a, b):
    os.kill(os.getpid(), signal.SIGSTOP)
    return a + b
