# expect: passed
# levels: full container
# host: no listener
import socket

bound = []
for address in ("listener", "\0reasonrl-attack-pair", ""):
    ours, theirs = socket.socketpair()
    try:
        ours.bind(address)
        ours.listen()
        bound.append(address)
    except OSError:
        pass


def add(a, b):
    return f"{bound}" if bound else a + b
