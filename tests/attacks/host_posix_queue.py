# expect: passed
# levels: full container
# host: no message queue is left
import ctypes
import os

librt = ctypes.CDLL(None)
queue = librt.mq_open(b"/reasonrl-attack", os.O_CREAT | os.O_RDWR, 0o666, None)


def add(a, b):
    return "made a queue" if queue >= 0 else a + b
