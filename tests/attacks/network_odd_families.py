# expect: passed
# levels: full container
import socket

opened = []
for family in (16, 17, 40, 38, 1, 2, 10, 44, 45, 29):  # netlink, packet, vsock, alg, unix, inet, inet6, xdp, mctp, can
    for kind in (1, 2, 3, 5):
        try:
            socket.socket(family, kind, 0).close()
            opened.append((family, kind))
        except OSError:
            pass


def add(a, b):
    return f"{opened}" if opened else a + b
