"""Finds what hostile programs left behind on the host; `reasonrl_sandbox.canary` finds what they changed."""

import contextlib
import ctypes
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

SYSTEM_V_KEY = 0x5EA50
"""Key that programs of the set give to System V objects."""

Found = TypeVar("Found")

LEFTOVER = re.compile("reasonrl-(attack|message)")
"""Names that programs of the set give to what they would leave behind."""


@contextlib.contextmanager
def clean_host() -> Iterator[Callable[[], list[str]]]:
    """Be whom orphans are given to, with a temporary folder of one's own; give a function that names what is left."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    usual = tempfile.gettempdir()
    own = tempfile.mkdtemp(prefix="host-")
    os.chmod(own, 0o711)
    tempfile.tempdir = own
    processes, descriptors, mounts = descendants(), _descriptors(), _mounts()

    def leftovers() -> list[str]:
        left = [f"process {process}" for process in _patiently(lambda: descendants() - processes)]
        left += [f"descriptor {target}" for target in _patiently(lambda: _descriptors() - descriptors)]
        left += [f"mount {mount}" for mount in _mounts() - mounts]
        left += [f"in the temporary folder: {path}" for path in Path(own).iterdir()]
        return left + list(_named_leftovers())

    try:
        yield leftovers
    finally:
        tempfile.tempdir = usual
        shutil.rmtree(own, ignore_errors=True)
        ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


def _patiently(look: Callable[[], set[Found]]) -> set[Found]:
    """Look until nothing is found, for up to two seconds."""
    end = time.monotonic() + 2
    while (found := look()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def descendants(of: int | None = None) -> set[int]:
    """Children, their children, and so on; whoever lost his parent is a child of ours, and when it ends, init's."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            if (state, int(parent)) != ("Z", os.getpid()):
                parents.setdefault(int(parent), []).append(int(status.parent.name))
    found, front = set[int](), [of or os.getpid()]
    while front:
        front = [child for parent in front for child in parents.get(parent, ())]
        found.update(front)
    return found


def _descriptors() -> set[str]:
    return {f"{number} -> {_target(number)}" for number in os.listdir("/proc/self/fd") if _target(number)}


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:  # The one that the listing itself was read through.
        return ""


def _mounts() -> set[str]:
    """Mount points that are ours; other people's come and go."""
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if "reasonrl" in line}


def _named_leftovers() -> Iterator[str]:
    """Files, keys, queues, segments and abstract sockets by the names that the set gives them."""
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run", "/run/lock", str(Path.home())):
        with contextlib.suppress(OSError):
            yield from (f"{folder}/{name}" for name in os.listdir(folder) if LEFTOVER.match(name))
    for table in ("shm", "sem", "msg"):
        lines = Path(f"/proc/sysvipc/{table}").read_text().splitlines()[1:]
        yield from (f"System V: {line}" for line in lines if int(line.split()[0]) == SYSTEM_V_KEY)
    for table in ("/proc/keys", "/proc/net/unix"):
        with contextlib.suppress(OSError):
            yield from (line for line in Path(table).read_text().splitlines() if LEFTOVER.search(line))
