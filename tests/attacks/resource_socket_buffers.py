# expect: passed
# levels: full container
# host: memory of the kernel, which no limit of a process counts
import socket

held = 0
pairs = []
try:
    for _ in range(20):
        pair = socket.socketpair()
        pairs.append(pair)
        for end in pair:
            end.setblocking(False)
            try:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            except OSError:
                pass
            try:
                while True:
                    held += end.send(bytes(1 << 16))
            except OSError:
                pass
except OSError:
    pass


def add(a, b):
    return a + b if held < 24 << 20 else held
