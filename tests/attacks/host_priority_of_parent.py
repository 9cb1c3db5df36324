# expect: passed
# levels: full container
# host: priority and processors of the fork server
import os

changed = []
parent = os.getppid()
for act in (
    lambda: os.setpriority(os.PRIO_PROCESS, parent, 19),
    lambda: os.sched_setaffinity(parent, os.sched_getaffinity(0)),
    lambda: os.sched_setscheduler(parent, os.SCHED_IDLE, os.sched_param(0)),
):
    try:
        if parent > 1:
            act()
            changed.append(act.__code__.co_names)
    except OSError:
        pass


def add(a, b):
    return f"{changed}" if changed else a + b
