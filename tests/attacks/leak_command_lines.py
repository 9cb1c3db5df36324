# expect: passed
# levels: full
import os

found = []
try:
    names = os.listdir("/proc")
except OSError:
    names = [str(os.getppid()), "1", "CANARY_PID"]
for name in names:
    if name.isdigit() and int(name) != os.getpid():
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                found.append(file.read())
        except OSError:
            pass


def add(a, b):
    return "read command lines" if any(found) else a + b
