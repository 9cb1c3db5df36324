# expect: passed
import os
import signal

seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))


def add(a, b):
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    return a + b if seen else None
