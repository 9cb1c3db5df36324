# expect: passed
# levels: full container
import os

found = []
for path in ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/etc/resolv.conf", "/etc/machine-id", os.path.expanduser("~root/.bash_history"), "/var/log/dpkg.log"):
    try:
        with open(path, "rb") as file:
            found.append((path, file.read(8)))
    except OSError:
        pass


def add(a, b):
    return f"{found}" if found else a + b
