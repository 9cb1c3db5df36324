# expect: passed
# levels: full container
# host: nobody knocks on the canary's Unix sockets
import socket

reached = []
for address in ("CANARY_FOLDER/socket", "\0reasonrl-canary-CANARY_PORT", "/run/docker.sock", "/var/run/docker.sock", "/dev/log", "/run/dbus/system_bus_socket"):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            with socket.socket(socket.AF_UNIX, kind) as client:
                client.settimeout(0.5)
                client.connect(address)
                reached.append(address)
        except OSError:
            pass


def add(a, b):
    return f"{reached}" if reached else a + b
