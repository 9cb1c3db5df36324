# expect: passed
# host: opens without writing
import os

opened = []
for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/power/state", "/proc/sys/vm/drop_caches", "/sys/fs/cgroup/cgroup.procs"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        opened.append(path)
    except OSError:
        pass


def add(a, b):
    return f"{opened}" if opened else a + b
