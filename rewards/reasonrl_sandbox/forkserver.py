"""One fork server as the host sees it: starts it, sends it programs one at a time, ends it."""

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
from reasonrl_sandbox.child import wire, workfolder
from reasonrl_sandbox.child.wire import ChildExit, ResourceLimits, RunReport
from reasonrl_sandbox.types import Ending, Execution, Isolation, Program, ProgramLimits

_START: Final = Path(__file__).parent / "child" / "start.py"

_ENVIRONMENT: Final = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    # The server may have one thread only, because a fork keeps no other: so may every library that it imports.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
}
"""The environment of a fork server, which it clears before the first program."""

_START_TIMEOUT_S: Final = 60.0
"""Longest time that a server may take to start."""

_REPLY_MARGIN_S: Final = 10.0
"""How long after a program's deadline the server may answer before it counts as hung."""

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


class IsolationUnavailableError(SandboxError):
    """A level that cannot be formed here; names the layer that is missing."""

    def __init__(self, missing: str) -> None:
        super().__init__(missing)
        self.missing = missing


class ForkServer:
    """One server process. Its methods are for one thread at a time.

    Raises:
        IsolationUnavailableError: The level cannot be formed.
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
                start_new_session=True,  # Ctrl-C at the terminal is for the host process
            )
        try:
            self._await_ready()
        except BaseException:
            self.close()
            raise

    def _await_ready(self) -> None:
        """Read the server's report: its layers, or the one that it could not form."""
        self._socket.settimeout(_START_TIMEOUT_S)
        try:
            (size,) = struct.unpack("<I", wire.receive(self._socket, 4))
            answer = json.loads(wire.receive(self._socket, size))
        except (EOFError, OSError) as error:
            raise IsolationUnavailableError(f"the fork server did not start: {self._stderr_tail() or error}") from None
        if answer["not_imported"]:
            raise SandboxError(f"preimport: {answer['not_imported']}")
        self.layers: dict[str, str] = answer["layers"]
        if answer["failed"]:
            raise IsolationUnavailableError(answer["failed"])
        self.uid: int = answer["uid"]

    def run(self, program: Program) -> Execution:
        """Run one program. If the server is lost, it ends as `sandbox_error`, and only `close` may follow."""
        self.num_programs += 1
        with ExitStack() as open_files:
            bodies = _bodies(program)
            files = [
                [_memory_file(open_files, data) for data in (body, program.stdin, b"", b"", b"")] for body in bodies
            ]
            try:
                report = self._exchange(program.limits, [file for child in files for file in child])
            except (OSError, EOFError) as error:
                self._hangs = isinstance(error, TimeoutError)
                return Execution("sandbox_error", detail=f"the fork server is lost: {self._stderr_tail() or error}")
            return _execution(report, files, program.limits)

    def _exchange(self, limits: ProgramLimits, files: list[int]) -> RunReport:
        self._socket.settimeout(limits.deadline_s + _REPLY_MARGIN_S)
        socket.send_fds(self._socket, [wire.pack_limits(_resource_limits(limits))], files)
        return wire.unpack_report(wire.receive(self._socket, wire.REPORT_BYTES))

    def _stderr_tail(self) -> str:
        """Return the last line that the server printed."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    @property
    def pid(self) -> int:
        """The process that was started; at level `full` it is the parent of the one that forks."""
        return self._process.pid

    def disconnect(self) -> None:
        """Make it end, with what it runs; a waiting `run` returns at once. Any thread may call it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it and all that it runs; return when it is gone. One that hangs, or was stopped, is killed."""
        self._socket.close()
        try:
            self._process.wait(timeout=0 if self._hangs else _REPLY_MARGIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()
        if os.path.isdir(self._folder):  # the server was killed before it could delete it
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


def _resource_limits(limits: ProgramLimits) -> ResourceLimits:
    return ResourceLimits(
        cpu_s=limits.cpu_s,
        wall_s=limits.deadline_s,
        memory_bytes=limits.memory_mib << 20,
        output_bytes=limits.output_kib << 10,
        disk_mib=limits.disk_mib,
        num_files=limits.num_files,
        num_threads=limits.num_threads,
    )


def body_of(program: Program) -> dict[str, str | None]:
    """Return what a child reads, as `child/program.py` has it."""
    return {"mode": program.mode, "source": program.source, "entry": program.entry, "calls": program.calls}


def _bodies(program: Program) -> list[bytes]:
    """Return the body of each child: one, or those of program and driver."""
    body = body_of(program)
    if program.mode != "split":
        return [json.dumps(body).encode()]
    parts = [{**body, "mode": "candidate"}, {**body, "mode": "driver", "source": program.driver}]
    return [json.dumps(part).encode() for part in parts]


def _memory_file(open_files: ExitStack, data: bytes) -> int:
    """Return the descriptor of an anonymous file with the data, at its start."""
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


def _execution(report: RunReport, files: list[list[int]], limits: ProgramLimits) -> Execution:
    """Return how it ended and what it wrote."""
    cap = limits.output_kib << 10
    program, driver = report.children[0], report.children[len(files) - 1]
    ending, detail = ending_of(program, limits)
    if len(files) == 2 and ending == "finished":
        ending, detail = ending_of(driver, limits)
    if any(_size(file) >= cap for child in files for file in child[2:]) and ending != "sandbox_error":
        ending, detail = output_limit(limits)
    return Execution(
        ending=ending,
        stdout=_content(files[0][2], cap).decode(errors="replace"),
        stderr=_content(files[0][3], cap).decode(errors="replace"),
        answers=_content(files[-1][4], cap),
        cpu_s=program.cpu_s,
        wall_s=report.wall_s,
        max_rss_mib=program.max_rss_mib,
        detail=report.detail or detail,
    )


def _size(file: int) -> int:
    return os.fstat(file).st_size


def _content(file: int, cap: int) -> bytes:
    return os.pread(file, min(_size(file), cap), 0)


def output_limit(limits: ProgramLimits) -> tuple[Ending, str]:
    """Return the ending of a program whose output reached the limit."""
    return "output_limit", f"it wrote {limits.output_kib} KiB or more"


def ending_of(child_exit: ChildExit, limits: ProgramLimits) -> tuple[Ending, str]:
    """Return how one child ended, and a line about it. An exit status is trusted only where it says that it failed."""
    if child_exit.why == wire.NOT_CONFINED:
        return "sandbox_error", "it could not be confined"
    if child_exit.why != wire.BY_ITSELF:
        return _KILLED[child_exit.why]
    # The kernel ends a program at RLIMIT_CPU: macOS by SIGXCPU, Linux by SIGKILL.
    if child_exit.status == -signal.SIGXCPU or (
        child_exit.status == -signal.SIGKILL and child_exit.cpu_s >= 0.9 * limits.cpu_s
    ):
        return _KILLED[wire.CPU]
    if child_exit.status < 0:
        return "runtime_error", f"killed by signal {-child_exit.status}"
    return _EXITS.get(child_exit.status, ("runtime_error", f"exit status {child_exit.status}"))
