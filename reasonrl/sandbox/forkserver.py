"""One fork server as the host sees it: started, handed programs one at a time, ended."""

import importlib.util
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from reasonrl.errors import SandboxError
from reasonrl.sandbox.child import wire, workfolder
from reasonrl.sandbox.child.wire import Ended, Reply, Request
from reasonrl.sandbox.types import Ending, Execution, Isolation, Limits, Program

_START: Final = Path(__file__).parent / "child" / "start.py"

_ENVIRONMENT: Final = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    # The server may have one thread only, and so may every library that it imports.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
}
"""All that a fork server knows of the environment; it forgets that too before the first program."""

_READY_S: Final = 60.0
"""Longest time that a server may take to start."""

_LATE_S: Final = 10.0
"""How long after a program's deadline the server may answer before it is given up."""

_EXITS: Final[dict[int, tuple[Ending, str]]] = {
    0: ("finished", ""),
    wire.EXIT_COMPILE: ("compile_error", "it does not compile"),
    wire.EXIT_NO_ENTRY: ("no_entry", "it does not define what is called"),
    wire.EXIT_MEMORY: ("memory_limit", "it needed more memory than the limit"),
    wire.EXIT_FILE_LIMIT: ("output_limit", "a file grew to the limit"),
}

_KILLED: Final[dict[int, tuple[Ending, str]]] = {
    wire.CLOCK: ("timeout", "killed at the limit of the clock"),
    wire.CPU: ("timeout", "killed at the limit of CPU time"),
    wire.DISK: ("output_limit", "its files grew over the limit"),
    wire.THREADS: ("runtime_error", "killed for more threads than the limit"),
    wire.DRIVER_DONE: ("finished", ""),
}


class LevelError(SandboxError):
    """A level that cannot be formed here; names the layer that is missing."""

    def __init__(self, missing: str) -> None:
        """Keep what is missing."""
        super().__init__(missing)
        self.missing = missing


class ForkServer:
    """One server process. Its methods are for one thread at a time.

    Raises:
        LevelError: The level cannot be formed.
        SandboxError: A package to import is none, or its import fails.
    """

    def __init__(self, level: Isolation, preimport: Sequence[str] = ()) -> None:
        """Start it and wait until it has formed the level."""
        search = _folders_of(preimport)
        self.level = level
        self.num_programs = 0
        self._hangs = False
        self._folder = os.path.join(tempfile.gettempdir(), f"reasonrl-sandbox-{secrets.token_hex(8)}")
        self._socket, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process
        config = {
            "control": theirs.fileno(),
            "level": level,
            "folder": self._folder,
            "search": search,
            "preimport": list(preimport),
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-S", "-B", str(_START), json.dumps(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=[theirs.fileno()],
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,  # Ctrl-C at the terminal is for the trainer
            )
        try:
            self._await_ready()
        except BaseException:
            self.close()
            raise

    def _await_ready(self) -> None:
        """Read what the server says of itself: its layers, or which it could not form."""
        self._socket.settimeout(_READY_S)
        try:
            (size,) = struct.unpack("<I", wire.receive(self._socket, 4))
            answer = json.loads(wire.receive(self._socket, size))
        except (EOFError, OSError) as error:
            raise LevelError(f"the fork server did not start: {self._last_words() or error}") from None
        if answer["not_imported"]:
            raise SandboxError(f"preimport: {answer['not_imported']}")
        self.layers: dict[str, str] = answer["layers"]
        if answer["failed"]:
            raise LevelError(answer["failed"])
        self.uid: int = answer["uid"]

    def run(self, program: Program) -> Execution:
        """Run one program. Ends as `sandbox_error` when the server is lost; then only `close` is left to do."""
        self.num_programs += 1
        with ExitStack() as open_files:
            bodies = _bodies(program)
            files = [[_file(open_files, data) for data in (body, program.stdin, b"", b"", b"")] for body in bodies]
            try:
                reply = self._exchange(program.limits, [file for child in files for file in child])
            except (OSError, EOFError) as error:
                self._hangs = isinstance(error, TimeoutError)
                return Execution("sandbox_error", detail=f"the fork server is lost: {self._last_words() or error}")
            return _execution(reply, files, program.limits)

    def _exchange(self, limits: Limits, files: list[int]) -> Reply:
        self._socket.settimeout(limits.deadline_s + _LATE_S)
        socket.send_fds(self._socket, [wire.pack_request(_request(limits))], files)
        return wire.unpack_reply(wire.receive(self._socket, wire.REPLY_BYTES))

    def _last_words(self) -> str:
        """Return the last line of what the server printed before it died."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    @property
    def pid(self) -> int:
        """The process that was started; at level `full` it keeps the one that forks."""
        return self._process.pid

    def hang_up(self) -> None:
        """Make it end, with what it runs; whoever waits for that learns it at once. Any thread may call it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it and all that it runs; return when it is gone. One that hangs, or was stopped, is not waited for."""
        self._socket.close()
        try:
            self._process.wait(timeout=0 if self._hangs else _LATE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()
        if os.path.isdir(self._folder):  # the server could not take it away any more
            workfolder.remove(self._folder)


def _folders_of(packages: Sequence[str]) -> list[str]:
    """Return the folders to import the packages from."""
    return list(dict.fromkeys(_folder_of(name) for name in packages if name not in sys.stdlib_module_names))


def _folder_of(package: str) -> str:
    """Return the folder that a package is installed in."""
    top = package.partition(".")[0]
    if package != top and top.isidentifier():
        raise SandboxError(f"preimport: {package!r} is a part of a package: name the whole of it, {top!r}.")
    spec = importlib.util.find_spec(package) if package.isidentifier() and package != "__main__" else None
    if spec is None or spec.origin is None:
        raise SandboxError(f"preimport: no package {package!r} is installed here.")
    return str(Path(spec.origin).parents[1 if spec.submodule_search_locations else 0])


def _request(limits: Limits) -> Request:
    return Request(
        cpu_s=limits.cpu_s,
        wall_s=limits.deadline_s,
        memory_bytes=limits.memory_mib << 20,
        output_bytes=limits.output_kib << 10,
        disk_mib=limits.disk_mib,
        num_files=limits.num_files,
        num_threads=limits.num_threads,
    )


def _bodies(program: Program) -> list[bytes]:
    """Return what the child reads, or what program and driver read."""
    body = {"mode": program.mode, "source": program.source, "entry": program.entry, "calls": program.calls}
    if program.mode != "split":
        return [json.dumps(body).encode()]
    parts = [{**body, "mode": "candidate"}, {**body, "mode": "driver", "source": program.driver}]
    return [json.dumps(part).encode() for part in parts]


def _file(open_files: ExitStack, data: bytes) -> int:
    """Return an anonymous file in memory that holds the data, at its start."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("program")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    open_files.callback(os.close, descriptor)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


# ---- what came out


def _execution(reply: Reply, files: list[list[int]], limits: Limits) -> Execution:
    """Put together how it ended and what it wrote."""
    cap = limits.output_kib << 10
    program, driver = reply.children[0], reply.children[len(files) - 1]
    ending, detail = how_ended(program, limits)
    if len(files) == 2 and ending == "finished":
        ending, detail = how_ended(driver, limits)
    if any(_size(file) >= cap for child in files for file in child[2:]) and ending != "sandbox_error":
        ending, detail = "output_limit", f"it wrote {limits.output_kib} KiB or more"
    return Execution(
        ending=ending,
        stdout=_content(files[0][2], cap).decode(errors="replace"),
        stderr=_content(files[0][3], cap).decode(errors="replace"),
        answers=_content(files[-1][4], cap),
        cpu_s=program.cpu_s,
        wall_s=reply.wall_s,
        max_rss_mib=program.max_rss_mib,
        detail=reply.detail or detail,
    )


def _size(file: int) -> int:
    return os.fstat(file).st_size


def _content(file: int, cap: int) -> bytes:
    return os.pread(file, min(_size(file), cap), 0)


def how_ended(ended: Ended, limits: Limits) -> tuple[Ending, str]:
    """Read how one child ended; its exit status can only say that something went wrong."""
    if ended.why == wire.NOT_CONFINED:
        return "sandbox_error", "it could not be confined"
    if ended.why != wire.BY_ITSELF:
        return _KILLED[ended.why]
    if ended.status == -signal.SIGXCPU or (ended.status == -signal.SIGKILL and ended.cpu_s >= 0.9 * limits.cpu_s):
        return _KILLED[wire.CPU]  # by the kernel: macOS sends the first, Linux the second
    if ended.status < 0:
        return "runtime_error", f"killed by signal {-ended.status}"
    return _EXITS.get(ended.status, ("runtime_error", f"exit status {ended.status}"))
