# expect: passed
# levels: full container
import socket

try:
    found = socket.getaddrinfo("localhost", 80)
except OSError:
    found = []
try:
    found += socket.getaddrinfo("example.com", 80)
    resolved = True
except OSError:
    resolved = False


def add(a, b):
    return "resolved a name" if resolved else a + b
