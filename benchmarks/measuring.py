"""What the benchmarks share: the machine, memory, and tables."""

import os
import platform
import re
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import torch

MIB = 2**20


def peak_memory() -> float:
    """Return the most memory, in MiB, that this process has had so far.

    Linux lets a process begin with the ``ru_maxrss`` of the one that started it, so its status is read instead.
    """
    if sys.platform == "linux":
        return kilobytes("VmHWM", os.getpid()) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


def kilobytes(name: str, pid: int | None = None) -> int:
    """Return a figure of Linux's about a process, or about the machine, in kB; 0 for one that has ended."""
    try:
        text = Path("/proc/meminfo" if pid is None else f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0


def restart_peak_memory() -> float:
    """Forget the peak so far, where the system can; return the memory, in MiB, from which the next one counts."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def machine(*packages: str) -> Iterator[str]:
    """Say what is measured on, with the versions of packages beside our own."""
    named = ("reasonrl", "torch", "transformers", *packages)
    yield f"{platform.machine()} {cpu_name()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads"
    yield f"Python {platform.python_version()}, " + ", ".join(f"{name} {version_of(name)}" for name in named)


def version_of(package: str) -> str:
    """Return a package's version, or that it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cpu_name() -> str:
    """Return the processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")


def row(name: str, *cells: str) -> str:
    """Return one line of a table."""
    return f"{name:24}" + "".join(f"{cell:>29}" for cell in cells)


def spread(values: Sequence[float]) -> str:
    """Return the median of some values with the least and the greatest."""
    chosen = (median(values), min(values), max(values))
    middle, least, greatest = (f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" for value in chosen)
    return f"{middle} [{least}, {greatest}]"
