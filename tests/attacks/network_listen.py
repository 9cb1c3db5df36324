# expect: passed
# levels: full container
# host: no listener
import socket

bound = []
for family, address in ((socket.AF_INET, ("0.0.0.0", 0)), (socket.AF_INET6, ("::", 0)), (socket.AF_UNIX, "listener"), (socket.AF_UNIX, "\0reasonrl-attack")):
    try:
        server = socket.socket(family, socket.SOCK_STREAM)
        server.bind(address)
        server.listen()
        bound.append(address)
    except OSError:
        pass


def add(a, b):
    return f"{bound}" if bound else a + b
