"""How much of a machine's CPUs a command and the rest took, for benchmarks on machines that others use too."""

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import STDOUT, Popen
from time import monotonic, sleep
from typing import Final

MARK: Final = "REASONRL_BENCHMARK"
"""A variable of the environment by which the command's processes are found, whoever their parent is."""
INTERVAL_S: Final = 1.0
_TICK: Final = os.sysconf("SC_CLK_TCK")


class CpuUse:
    """Counts CPU time of the processes that have a mark in their environment, and of all."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)
        self._of_process: dict[int, float] = {}
        self._is_ours: dict[int, bool] = {}
        self._began, self._all_began = monotonic(), _all_seconds()

    def look(self) -> None:
        """Note what every process of ours took so far; those that are gone keep what was noted last."""
        for pid in [int(path.name) for path in Path("/proc").glob("[0-9]*")]:
            with suppress(OSError, IndexError):  # it may be gone
                if pid not in self._is_ours:
                    self._is_ours[pid] = f"{MARK}={self.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
                if self._is_ours[pid]:
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    self._of_process[pid] = (int(fields[11]) + int(fields[12])) / _TICK

    @property
    def ours(self) -> float:
        """Mean number of CPUs that the marked processes used."""
        return sum(self._of_process.values()) / self._elapsed_s

    @property
    def others(self) -> float:
        """Mean number of CPUs that everybody else used."""
        return max(0.0, (_all_seconds() - self._all_began) / self._elapsed_s - self.ours)

    @property
    def _elapsed_s(self) -> float:
        return max(monotonic() - self._began, 1e-9)


def _all_seconds() -> float:
    """Return the time that all CPUs together were busy since the machine was started."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / _TICK


def run_watched(
    command: Sequence[str], log: Path, environment: Mapping[str, str], *, folder: Path
) -> tuple[int, CpuUse]:
    """Run a command in a folder, its lines into a file; return its exit code, and what it and others used meanwhile."""
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
