# expect: passed
# levels: full container
import os
import re


def read(pid):
    with open(f"/proc/{pid}/mem", "rb", 0) as memory, open(f"/proc/{pid}/maps") as maps:
        memory.seek(int(maps.readline().split("-")[0], 16))
        return memory.read(16)


found = []
try:
    running = [int(name) for name in os.listdir("/proc") if name.isdigit()]
except OSError:
    running = []
for pid in {os.getppid(), 1, CANARY_PID, *running}:
    if pid == os.getpid():
        continue
    try:
        found.append(read(pid))
    except (OSError, ValueError):
        pass


def add(a, b):
    return "read memory" if found else a + b
