# expect: timeout
# limits: {"cpu_s": 0.5}
import signal
import time

for number in signal.valid_signals():
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
end = time.time() + 30
while time.time() < end:
    pass


def add(a, b):
    return a + b
