"""The fork server: an interpreter with one thread that forks one child per program.

It receives limits and descriptors, and reads no program. It ends with its host: when the socket is closed, or when its
parent is no longer the one that it started with.
"""

import gc
import importlib
import json
import os
import select
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypedDict

from reasonrl_sandbox.child import interpreter, kernel, landlock, namespaces, seccomp, wire, workfolder
from reasonrl_sandbox.child.confine import Jail
from reasonrl_sandbox.child.execute import prepare_interpreter
from reasonrl_sandbox.child.run import HostDisconnectedError, run_program

COMMON = (
    "abc argparse array ast base64 bisect calendar cmath collections collections.abc copy csv dataclasses datetime "
    "decimal difflib enum fractions functools hashlib heapq io itertools json math numbers operator pprint queue "
    "random re statistics string struct tempfile textwrap threading time traceback types typing unicodedata "
    "unittest uuid zlib"
)
"""What programs commonly use: imported once, so that no program pays for it."""

_FIRST_USER, _NUM_USERS = 61184, 4096
"""User ids that distributions do not assign."""

_CONTROL, _PIDS, _RULES, _LIBRARIES = range(100, 104)
"""Numbers of the server's own descriptors, above those that come with a program."""

_IDLE_S = 0.5
"""Interval in which an idle server checks that its parent is alive."""


class Config(TypedDict):
    """What the host passes at the start."""

    control: int
    """Descriptor of the socket to the host."""
    level: str
    """The isolation to form."""
    folder: str
    """Folder to make for programs' files where they get no file system of their own."""
    search: list[str]
    """Folders where the packages to import are."""
    preimport: list[str]
    """The packages."""


class LayerError(Exception):
    """A layer that the level needs and the kernel refuses."""


class PackageError(Exception):
    """A package for programs that cannot be imported."""


def main(config: Config) -> None:
    """Form the level, report it, and serve."""
    control = _moved(socket.socket(fileno=config["control"]))
    _prefer_for_oom_kill()
    layers: dict[str, str] = {}
    try:
        _import(config["preimport"], config["search"])
        jail = _form_level(config, layers, control)
    except (PackageError, LayerError) as error:
        kind = "not_imported" if isinstance(error, PackageError) else "failed"
        _send_status(control, {"layers": layers, "failed": "", "not_imported": "", kind: str(error)})
        os._exit(0)  # does not wait for threads that a package started
    prepare_interpreter()
    _unload_own_modules()
    os.environ.clear()
    # Frozen objects are not visited by a child's collector, which would copy every page they are on.
    gc.collect()
    gc.freeze()
    gc.disable()
    _send_status(control, {"layers": layers, "failed": "", "not_imported": "", "uid": os.getuid()})
    _serve(control, jail)
    if jail.pids is None:
        workfolder.remove(config["folder"])


def _prefer_for_oom_kill() -> None:
    """When the machine runs out of memory, let the kernel kill programs and not the host process."""
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _import(packages: list[str], search: list[str]) -> None:
    """Import what programs may use. Other packages of the same folders stay out of `sys.path`."""
    for name in COMMON.split():
        importlib.import_module(name)
    sys.path += search
    for name in packages:
        _import_package(name)
    del sys.path[len(sys.path) - len(search) :]


def _import_package(name: str) -> None:
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:  # third-party code may raise anything
        why = " ".join(str(error).split())
        raise PackageError(f"{name!r} cannot be imported: {type(error).__name__}: {why}") from error
    if sys.platform == "linux" and len(os.listdir("/proc/self/task")) > 1:
        raise PackageError(f"importing {name!r} starts threads, which a fork would lose: leave it out.")


def _moved(control: socket.socket) -> socket.socket:
    with control:
        os.dup2(control.fileno(), _CONTROL, inheritable=False)
    return socket.socket(fileno=_CONTROL)


def _send_status(control: socket.socket, answer: dict[str, object]) -> None:
    data = json.dumps(answer).encode()
    control.sendall(struct.pack("<I", len(data)) + data)


def _unload_own_modules() -> None:
    """Remove this package from what programs can import or find in `sys.modules`."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "reasonrl_sandbox"]:
        del sys.modules[name]


# ---- forming the level


def _form_level(config: Config, layers: dict[str, str], control: socket.socket) -> Jail:
    """Restrict the server itself as far as the level says; children inherit it."""

    def step(name: str, form: Callable[[], str | None]) -> None:
        try:
            detail = form()
        except OSError as error:
            raise LayerError(f"{name}: {error.strerror or error}") from error
        layers[name] = f"active: {detail}" if detail else "active"

    layers["limits"] = (
        "active: CPU time, memory, output, descriptors, threads"
        if sys.platform == "linux"
        else ("active: CPU time, output, descriptors; not memory")
    )
    packages = tuple(interpreter.imported_packages())
    if sys.platform == "linux":
        step("no_new_privileges", _no_new_privileges)
    if config["level"] == "full":
        return _form_full(step, packages, control)
    return _form_without_namespaces(step, packages, config)


def _no_new_privileges() -> None:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    kernel.drop_bounding_set()


def _drop_user(*folders: str) -> str:
    """Become a user that owns nothing but some folders. Users other than root cannot, and keep their id."""
    if os.getuid() == 0:
        user = _FIRST_USER + os.getpid() % _NUM_USERS
        for folder in folders:
            os.chown(folder, user, user)
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        if sys.platform == "linux":
            kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # setuid cleared it; without it /proc/self belongs to root
        return f"uid {user}, of its own"
    return f"uid {os.getuid()}, as the host"


def _form_full(step: namespaces.Step, packages: tuple[str, ...], control: socket.socket) -> Jail:
    """Form level full: namespaces, and everything of level container."""
    own_user = os.getuid() == 0
    work = namespaces.enter(step, packages, _drop_user)
    step("pid_namespace", lambda: _become_first_process(control))
    abi = landlock.abi()
    if abi:
        step("landlock", lambda: f"version {abi}")
    step("program_folder", lambda: f"{work}, in memory")
    calls = _filter(step, own_files=True, truncate=True)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    # Before Linux 5.14 RLIMIT_NPROC also counts the user's processes outside of the user namespace.
    counted = own_user or _release() >= (5, 14)
    return Jail("full", work, packages, _PIDS, counted, abi, None, calls)


def _release() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def _become_first_process(control: socket.socket) -> None:
    """Continue as the first process of a new pid namespace: when it ends, the kernel kills all that it forked."""
    kernel.unshare(namespaces.NEW_PIDS)
    parent, first = os.getppid(), os.fork()
    if first:
        control.close()
        _wait_for_first_process(first, parent)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)
    own = os.pidfd_open(os.getpid())
    os.dup2(own, _PIDS, inheritable=False)
    os.close(own)
    kernel.unshare(namespaces.NEW_PIDS)  # each child gets its own; _PIDS leads back
    kernel.setns(_PIDS, namespaces.NEW_PIDS)


def _wait_for_first_process(first: int, parent: int) -> NoReturn:
    """Wait for the first process, and kill it when the host is gone."""
    watch = select.poll()
    watch.register(os.pidfd_open(first), select.POLLIN)
    while not watch.poll(1000 * _IDLE_S):
        if os.getppid() != parent:
            os.kill(first, 9)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) & 0xFF)


def _form_without_namespaces(step: namespaces.Step, packages: tuple[str, ...], config: Config) -> Jail:
    """Form a level that needs no namespaces: a user, limits, a filter and Landlock; at basic only a user and limits."""
    own_user, work = os.getuid() == 0, workfolder.inside(config["folder"])
    confined = config["level"] == "container"
    workfolder.make(work)
    abi = landlock.abi() if confined else 0
    if confined:
        step("landlock", lambda: _landlock_rules(abi, interpreter.readable(packages, work)))
    folders = interpreter.open_folders(packages, _LIBRARIES)
    step("user", lambda: _drop_user(config["folder"], work))
    libraries = interpreter.route_imports(folders)
    step("program_folder", lambda: _check_access(work))
    calls = _filter(step, own_files=False, truncate=abi >= 3) if confined else b""
    if sys.platform == "linux":
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    return Jail(config["level"], work, packages, None, own_user, abi, _RULES if confined else None, calls, libraries)


def _landlock_rules(abi: int, paths: landlock.Paths) -> str:
    """Make the rules, once for all programs, while the server still has access to every path."""
    if not abi:
        raise OSError("this kernel has no Landlock, or was started without it")
    rules = landlock.ruleset(abi, paths)
    os.dup2(rules, _RULES, inheritable=False)
    os.close(rules)
    return f"version {abi}"


def _check_access(work: str) -> str:
    if not os.access(work, os.R_OK | os.W_OK | os.X_OK):
        raise OSError(f"user {os.getuid()} cannot reach {work}: point TMPDIR at a folder that everybody may enter")
    return f"{work}, emptied after each program"


def _filter(step: namespaces.Step, *, own_files: bool, truncate: bool) -> bytes:
    """Assemble the filter, and try it in a fork, because installing it cannot be undone."""
    machine = kernel.machine()
    code = seccomp.assemble(machine, own_files=own_files, truncate=truncate) if machine else b""
    step("seccomp", lambda: _try_filter(code))
    return code


def _try_filter(code: bytes) -> str:
    if not code:
        raise OSError(f"no system calls are known for {os.uname().machine}: only for {', '.join(kernel.MACHINES)}")
    child = os.fork()
    if child == 0:
        try:
            seccomp.install(seccomp.for_process(code, os.getpid()))
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, os.strerror(abs(status)))
    return f"{len(code) // 8} instructions"


# ---- serving


def _serve(control: socket.socket, jail: Jail) -> None:
    """Run one program after another until the host is gone."""
    parent = os.getppid()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    with suppress(HostDisconnectedError, EOFError, ConnectionResetError, BrokenPipeError):
        while os.getppid() == parent:
            if poll.poll(1000 * _IDLE_S):
                limits, files = _receive(control)
                try:
                    report = run_program(jail, limits, files, control)
                finally:
                    for file in files:
                        os.close(file)
                control.sendall(wire.pack_report(report))


def _receive(control: socket.socket) -> tuple[wire.ResourceLimits, list[int]]:
    data, files, _, _ = socket.recv_fds(control, wire.LIMITS_BYTES, 2 * wire.FILES_PER_CHILD)
    if not data:
        raise EOFError
    data += wire.receive(control, wire.LIMITS_BYTES - len(data))
    return wire.unpack_limits(data), files
