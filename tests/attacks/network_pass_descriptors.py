# expect: passed | failed | runtime_error
# host: whoever reads the descriptors of the harness takes no others
import os
import socket

for descriptor in range(3, 64):
    try:
        with socket.socket(fileno=os.dup(descriptor)) as channel:
            socket.send_fds(channel, [b"x"], [0, 1, 2] * 4, socket.MSG_DONTWAIT)
    except OSError:
        pass


def add(a, b):
    return None
