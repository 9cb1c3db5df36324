# expect: passed
# levels: full container
import socket

reached = False
try:
    with socket.socket(40, socket.SOCK_STREAM) as client:
        client.settimeout(0.2)
        client.connect((2, 1))
except ConnectionError:
    reached = True
except OSError:
    pass


def add(a, b):
    return "the host of this machine answered" if reached else a + b
