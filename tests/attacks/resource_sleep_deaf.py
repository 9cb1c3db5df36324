# expect: timeout
# limits: {"cpu_s": 0.5, "wall_s": 1.0}
import signal
import time

signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
end = time.time() + 30
while time.time() < end:
    time.sleep(1)


def add(a, b):
    return a + b
