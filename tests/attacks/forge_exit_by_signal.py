# expect: failed | runtime_error
import os
import signal

signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
signal.setitimer(signal.ITIMER_REAL, 0.02)


def add(a, b):
    signal.pause()
