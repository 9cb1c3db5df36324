# expect: passed
# levels: full container
# host: nobody knocks on the canary port
import socket

reached = []
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1"), (socket.AF_INET, "0.0.0.0")):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(0.5)
            client.connect((address, CANARY_PORT))
            reached.append(address)
    except OSError:
        pass


def add(a, b):
    return f"{reached}" if reached else a + b
