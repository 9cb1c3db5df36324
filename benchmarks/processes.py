"""Which processes there are, for the benchmarks of the sandbox; it loads nothing that would be measured too."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def below(pid: int) -> list[int]:
    """Return the processes below one."""
    parents: dict[int, list[int]] = {}
    for child, fields in stat_of(int(path.name) for path in Path("/proc").glob("[0-9]*")).items():
        parents.setdefault(int(fields[1]), []).append(child)
    found = list(parents.get(pid, ()))
    for child in found:
        found += parents.get(child, ())
    return found


def stat_of(processes: Iterable[int]) -> dict[int, list[str]]:
    """Return what `/proc/PID/stat` says of processes, from the state on; some may be gone."""
    found = {}
    for pid in processes:
        with suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return found
