"""Who uses a machine's CPUs while a command runs, for benchmarks on machines that others use too."""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from subprocess import STDOUT, Popen
from time import sleep
from typing import Final

MARK: Final = "REASONRL_BENCHMARK"
"""A variable of the environment by which the command's processes are found, whoever their parent is."""
INTERVAL_S: Final = 1.0
SHARE: Final = 1.25
"""How much more time a process is given than one whose nice value is greater by one."""


class CpuUse:
    """Counts, again and again, the threads that want a CPU: those of marked processes, and all others."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)
        self._is_ours: dict[int, bool] = {}
        self._ours, self._others = [0.0], [0.0]

    def look(self) -> None:
        """Count once."""
        ours = sum(_num_running(pid) for pid in self._our_processes())
        others = _procs_running() - ours - 1  # this process is running too
        self._ours.append(ours)
        self._others.append(max(0, others) / SHARE ** -os.getpriority(os.PRIO_PROCESS, 0))

    def _our_processes(self) -> Iterator[int]:
        for pid in [int(path.name) for path in Path("/proc").glob("[0-9]*")]:
            if pid not in self._is_ours:
                with suppress(OSError):  # it may be gone
                    self._is_ours[pid] = f"{MARK}={self.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
            if self._is_ours.get(pid):
                yield pid

    @property
    def ours(self) -> float:
        """Mean number of threads of the command that wanted a CPU."""
        return fmean(self._ours)

    @property
    def others(self) -> float:
        """Mean number of other threads that did, in shares of the command's: it may have another nice value."""
        return fmean(self._others)


def _num_running(pid: int) -> int:
    """Count the threads of a process that run or could."""
    count = 0
    for thread in Path(f"/proc/{pid}/task").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            count += (thread / "stat").read_text().rpartition(")")[2].split()[0] == "R"
    return count


def _procs_running() -> int:
    """Return how many threads of the whole machine run or could."""
    lines = Path("/proc/stat").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("procs_running")).split()[1])


def run_watched(
    command: Sequence[str], log: Path, environment: Mapping[str, str], *, folder: Path
) -> tuple[int, CpuUse]:
    """Run a command in a folder, its lines into a file; return its exit code, and who wanted the CPUs meanwhile."""
    use = CpuUse()
    with log.open("w") as lines:
        process = Popen(command, stdout=lines, stderr=STDOUT, cwd=folder, env={**environment, MARK: use.mark})
        try:
            while process.poll() is None:
                use.look()
                sleep(INTERVAL_S)
        finally:
            process.kill()
    return process.wait(), use
