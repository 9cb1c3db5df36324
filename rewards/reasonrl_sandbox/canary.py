"""A canary: files, sockets and a process of the host that no program may touch, and what has been done to them.

Where a system has no /proc, extended attributes or abstract sockets, those are not checked.
"""

import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

SECRET: Final = "do not touch"
"""Content of the file `secret` in the folder."""

_IN_FOLDER: Final = "file"

Process = subprocess.Popen[bytes]


class Canary:
    """A folder, a process and addresses. They belong to the programs' own user: permissions alone protect nothing.

    Args:
        folder: holds a file `secret`.
        process: one that waits.
        listeners: sockets that nobody may connect to, by name; the first is the TCP port.
    """

    def __init__(self, folder: Path, process: Process, listeners: Mapping[str, socket.socket]) -> None:
        self._folder, self._process, self._listeners = folder, process, listeners
        port = next(iter(listeners.values())).getsockname()[1]
        self.placeholders = {"CANARY_FOLDER": str(folder), "CANARY_PID": str(process.pid), "CANARY_PORT": str(port)}
        self._before = self._state()

    def harm(self) -> list[str]:
        """Return what was done to it. A connection is reported once."""
        now = {name: "gone" for name in self._before if name.startswith(_IN_FOLDER)} | self._state()
        return [
            f"the canary's {name}: {value}, was {self._before.get(name, 'not there')}"
            for name, value in now.items()
            if value != self._before.get(name)
        ]

    def _state(self) -> dict[str, Any]:
        """Return everything that a program could change. Any: values of all types."""
        return {
            "visitors": [name for name, listener in self._listeners.items() if _was_visited(listener)],
            **{f"{_IN_FOLDER} {path.relative_to(self._folder)}": _file_state(path) for path in _below(self._folder)},
            "process": "running" if self._process.poll() is None else f"ended with {self._process.returncode}",
            **_process_state(self._process),
        }


@contextmanager
def planted_canary(uid: int) -> Iterator[Canary]:
    """Create a canary, and remove it afterwards.

    Args:
        uid: the user that programs run as, who becomes owner of folder and process where this process is root.
    """
    owner = uid if os.getuid() == 0 else os.getuid()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="canary-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "secret").write_text(SECRET, encoding="utf-8")
        listeners = {name: stack.enter_context(listener) for name, listener in _listeners(folder)}
        for path in (folder / "secret", folder / "socket", folder):
            path.chmod(0o777 if path == folder else 0o666)
            os.chown(path, owner, -1)
        yield Canary(folder, stack.enter_context(_waiting(owner)), listeners)


@contextmanager
def _waiting(uid: int) -> Iterator[Process]:
    """Start a process as a user; it ends with its standard input, so with this process at the latest."""
    process = subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, user=uid, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _listeners(folder: Path) -> Iterator[tuple[str, socket.socket]]:
    """Listen by TCP and UDP at the same port, in the folder, and at an abstract address named after the port."""
    tcp = socket.create_server(("127.0.0.1", 0))
    address = tcp.getsockname()
    yield "TCP port", _bound(tcp, None)
    yield "UDP port", _bound(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), address)
    yield "Unix socket", _bound(socket.socket(socket.AF_UNIX), str(folder / "socket"))
    if sys.platform == "linux":
        yield "abstract socket", _bound(socket.socket(socket.AF_UNIX), f"\0reasonrl-canary-{address[1]}")


# Any: an address is whatever its family has.
def _bound(listener: socket.socket, address: Any) -> socket.socket:
    """Return a non-blocking socket that listens."""
    if address is not None:
        listener.bind(address)
        if listener.type == socket.SOCK_STREAM:
            listener.listen()
    listener.setblocking(False)
    return listener


def _was_visited(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_DGRAM:
            listener.recv(1)
        else:
            listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _below(folder: Path) -> list[Path]:
    """Return a folder and all below it, without following links."""
    return [folder, *(Path(at, name) for at, folders, files in os.walk(folder) for name in (*folders, *files))]


def _file_state(path: Path) -> dict[str, Any]:
    """Return owner, mode, times and content of a file. Any: values of all types."""
    status = path.lstat()
    state: dict[str, Any] = {
        "mode": oct(status.st_mode),
        "owner": status.st_uid,
        "changed": status.st_mtime,
        "links": status.st_nlink,
    }
    if sys.platform == "linux":
        state["attributes"] = os.listxattr(path, follow_symlinks=False)
    if stat.S_ISREG(status.st_mode):
        state["text"] = _start_of(path)
    return state


def _start_of(path: Path) -> str:
    """Return the first bytes of a file; a program may have locked or filled it."""
    try:
        with path.open("rb") as file:
            return file.read(200).decode(errors="replace")
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _process_state(process: Process) -> dict[str, Any]:
    """Return priority, group, scheduling and limits of a process. Any: values of all types."""
    if process.returncode is not None:
        return {}
    pid = process.pid
    state: dict[str, Any] = {
        "process's priority": os.getpriority(os.PRIO_PROCESS, pid),
        "process's group": os.getpgid(pid),
    }
    if sys.platform == "linux":
        state |= {
            "process's policy": os.sched_getscheduler(pid),
            "process's processors": os.sched_getaffinity(pid),
            "process's limits": Path(f"/proc/{pid}/limits").read_text(encoding="utf-8"),
            "process is stopped": _is_stopped(pid),
        }
    return state


def _is_stopped(pid: int) -> bool:
    return re.findall(r"State:\s+(\w)", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))[0] in "Tt"
