# expect: passed
# levels: full container
# host: limits of the canary process and of the fork server
import os
import resource

changed = []
for pid in {os.getppid(), CANARY_PID} - {0, 1}:
    for name in ("RLIMIT_NPROC", "RLIMIT_NOFILE"):
        try:
            resource.prlimit(pid, getattr(resource, name), (3, 4096))
            changed.append(pid)
        except (OSError, ValueError):
            pass


def add(a, b):
    return f"{changed}" if changed else a + b
