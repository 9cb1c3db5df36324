"""What hostile programs are let loose at, and what must be as it was when they are gone."""

import contextlib
import ctypes
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

SYSTEM_V_KEY = 0x5EA50
"""Key that programs of the set give to System V objects."""

Found = TypeVar("Found")

LEFTOVER = re.compile("reasonrl-(attack|message)")
"""Names that programs of the set give to what they would leave behind."""


class Canary:
    """A folder, a process and addresses that are the programs' own user's, and still none of their business.

    Args:
        uid: the user that programs run as; given to folder and process where this process may.
    """

    def __init__(self, uid: int) -> None:
        self.uid = uid if os.getuid() == 0 else os.getuid()
        self.folder = Path(tempfile.mkdtemp(prefix="canary-"))
        (self.folder / "secret").write_text("do not touch")
        self.listeners = _listeners(self.folder)
        port = self.listeners[0].getsockname()[1]
        for path in (self.folder / "secret", self.folder / "socket", self.folder):
            os.chmod(path, 0o777 if path == self.folder else 0o666)
            os.chown(path, self.uid, -1)
        # It ends with its standard input, so with this process at the latest.
        self.process = subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, user=self.uid, start_new_session=True
        )
        self.words = {
            "CANARY_FOLDER": str(self.folder),
            "CANARY_PID": str(self.process.pid),
            "CANARY_PORT": str(port),
        }
        self._before = self._state()

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()
        self.process.kill()
        self.process.communicate()
        shutil.rmtree(self.folder)

    def harm(self) -> list[str]:
        """What has been done to it."""
        now = self._state()
        return [
            f"{name}: {value}, was {self._before[name]}" for name, value in now.items() if value != self._before[name]
        ]

    def _state(self) -> dict[str, Any]:
        """Everything about it that a program could change. Any: values of all types."""
        state: dict[str, Any] = {"secret": None, "process": self.process.poll()}
        with contextlib.suppress(OSError):
            state["secret"] = (self.folder / "secret").read_text()
        for path in (self.folder, *sorted(self.folder.rglob("*"))):
            status = path.lstat()
            state[path.name] = [
                oct(status.st_mode),
                status.st_uid,
                status.st_mtime,
                status.st_nlink,
                os.listxattr(path),
            ]
        state["visitors"] = [number for number, listener in enumerate(self.listeners) if _was_visited(listener)]
        return state | (_process_state(self.process.pid) if state["process"] is None else {})


def _listeners(folder: Path) -> list[socket.socket]:
    """TCP and UDP at the same port, a Unix socket in the folder, an abstract one named after the port."""
    tcp = socket.create_server(("127.0.0.1", 0))
    port = tcp.getsockname()[1]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", port))
    listeners = [tcp, udp]
    for address in (str(folder / "socket"), f"\0reasonrl-canary-{port}"):
        listeners.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listeners[-1].bind(address)
        listeners[-1].listen()
    for listener in listeners:
        listener.setblocking(False)
    return listeners


def _was_visited(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(1)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _process_state(pid: int) -> dict[str, Any]:
    """How a process is treated: whether it runs, at which priority, where, in which group. Any: values of all types."""
    return {
        "stopped": re.findall(r"State:\s+(\w)", Path(f"/proc/{pid}/status").read_text())[0] in "Tt",
        "priority": os.getpriority(os.PRIO_PROCESS, pid),
        "policy": os.sched_getscheduler(pid),
        "processors": os.sched_getaffinity(pid),
        "group": os.getpgid(pid),
        "limits": Path(f"/proc/{pid}/limits").read_text(),
    }


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
