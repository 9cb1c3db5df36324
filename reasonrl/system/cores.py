"""How many cores this process may use."""

import os
import sys
from contextlib import suppress
from pathlib import Path


def usable_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how much this process can run at once without one thing waiting for another.

    Args:
        quota: where the kernel says what share of the cores a container has.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no such file outside of a container; `max` without a quota
        allowed_us, period_us = (int(word) for word in quota.read_text().split())
        cores = min(cores, max(1, allowed_us // period_us))
    return cores
