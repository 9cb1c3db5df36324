# expect: timeout
# limits: {"cpu_s": 0.5, "wall_s": 1.0}
# host: no process is left
import os
import signal
import time

signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
try:
    for _ in range(4):
        os.fork()
except OSError:
    pass
time.sleep(20)
