"""Resident memory of a process with all that it has started, as Linux tells it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
KIB: Final = 1024


def peak_memory(process: int) -> int | None:
    """Return the memory in bytes of a process at its greatest, and of its descendants as they are now.

    What descendants share with one another by forking counts once, and files that they map, programs and libraries, do
    not count: the process itself has most of them mapped too.

    Args:
        process: its id.

    Returns:
        None where the system does not tell, or the process is gone.
    """
    own = _fields(PROC / str(process) / "status").get("VmHWM")
    if own is None:
        return None
    return KIB * (own + sum(_own_memory(each) for each in descendants(process)))


def descendants(process: int) -> list[int]:
    """Return the processes that a process and its children have started and that are there now."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for each, parent in _parents():
        children[parent].append(each)
    found, to_visit = [], [process]
    while to_visit:
        started = children.pop(to_visit.pop(), [])
        found += started
        to_visit += started
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """Yield every process with its parent."""
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may hold anything; the state and the parent follow it.
            yield int(folder.name), int((folder / "stat").read_text().rpartition(")")[2].split()[1])


def _own_memory(process: int) -> int:
    """Return KiB that a process has allocated, of shared ones its part."""
    folder = PROC / str(process)
    if shares := _fields(folder / "smaps_rollup"):
        return shares.get("Pss_Anon", 0) + shares.get("Pss_Shmem", 0)
    status = _fields(folder / "status")  # of another user's process no shares are told
    return status.get("RssAnon", 0) + status.get("RssShmem", 0)


def _fields(path: Path) -> Mapping[str, int]:
    """Return what a file of lines such as ``VmHWM:  1234 kB`` says; nothing where it cannot be read."""
    found = {}
    with suppress(OSError):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if value.endswith(" kB"):
                found[name] = int(value.removesuffix(" kB"))
    return found
