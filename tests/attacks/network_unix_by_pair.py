# expect: passed
# levels: full container
# host: nobody knocks on the canary's Unix sockets
import socket

reached = []
for address in ("CANARY_FOLDER/socket", "\0reasonrl-canary-CANARY_PORT"):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        except OSError:
            continue
        for act in (ours.connect, lambda to: ours.sendto(b"hello", to), lambda to: ours.sendmsg([b"hello"], [], 0, to)):
            try:
                act(address)
                reached.append(address)
            except OSError:
                pass


def add(a, b):
    return f"{reached}" if reached else a + b
