# expect: passed
# levels: full container
# host: nothing arrives at the canary port
import socket

sent = 0
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")):
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", (address, CANARY_PORT))
            sent += 1
    except OSError:
        pass


def add(a, b):
    return "sent" if sent else a + b
