# expect: passed
# levels: full container
import os

found = []
try:
    names = os.listdir("/proc")
except OSError:
    names = [str(os.getppid()), "1", "CANARY_PID"]
for name in names:
    if name.isdigit() and int(name) != os.getpid():
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                found.append(file.read())
        except OSError:
            pass


def add(a, b):
    return "read environments" if any(found) else a + b
