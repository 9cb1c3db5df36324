"""One program in a fork server: fork its child or its pair of children, hold them to their limits, reap all of them."""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from reasonrl.sandbox.child import kernel, namespaces, wire, workfolder
from reasonrl.sandbox.child.confine import CONFINED, Jail, become
from reasonrl.sandbox.child.wire import Ended, Reply, Request

_LOOK_S = 0.05
"""How often the work folder and the threads are looked at where the kernel does not count them."""

_WAKE_S = 0.002
"""How often to ask whether a child has ended where the kernel does not tell."""

_CORES = os.cpu_count() or 1
_HAS_PIDFD = hasattr(os, "pidfd_open")
_CAN_LOOK = hasattr(os, "waitid")
"""Whether one can see that a child has ended without reaping it; on macOS only newer Pythons can."""


@dataclass(slots=True)
class _Child:
    pid: int
    watch: int
    """Descriptor that is readable when it has ended, or -1."""
    ready: int
    """Descriptor of what it says once it is confined."""
    why: int = wire.BY_ITSELF
    ended: Ended | None = None


class HostGoneError(Exception):
    """The other end of the control socket is closed, or speaks out of turn."""


def run_program(jail: Jail, request: Request, files: list[int], control: socket.socket) -> Reply:
    """Run one child, or program and driver, to the end; nothing of them is left afterwards."""
    started = time.monotonic()
    children: list[_Child] = []
    try:
        children += _start_all(jail, request, files)
        _wait(jail, request, children, started + request.wall_s, control)
        detail = _not_confined(children)
    except OSError as error:  # no memory or process for a fork
        detail = f"{type(error).__name__}: {error}"
    finally:
        _end_all(children)
        _clean_up(jail)
    why = {"why": wire.NOT_CONFINED} if detail else {}
    ended = [(child.ended or wire.NOT_RUN)._replace(**why) for child in children]
    ended += [wire.NOT_RUN._replace(**why)] * (2 - len(ended))
    return Reply(time.monotonic() - started, (ended[0], ended[1]), detail)


# ---- starting


def _start_all(jail: Jail, request: Request, files: list[int]) -> list[_Child]:
    """Start one child, or two with a channel between them."""
    own, other = files[: wire.FILES_PER_CHILD], files[wire.FILES_PER_CHILD :]
    if not other:
        return [_start(jail, request, own)]
    ends = socket.socketpair()
    with ends[0], ends[1]:
        first = _start(jail, request, [*own, ends[0].fileno()])
        return [first, _start(jail, request, [*other, ends[1].fileno()])]


def _start(jail: Jail, request: Request, files: list[int]) -> _Child:
    """Fork a child into a pid namespace of its own, where there are any."""
    ready, theirs = os.pipe()
    try:
        pid = _in_new_pids(jail, lambda: _fork(jail, request, files, theirs))
    finally:
        os.close(theirs)
    return _Child(pid, os.pidfd_open(pid) if _HAS_PIDFD else -1, ready)


def _fork(jail: Jail, request: Request, files: list[int], ready: int) -> int:
    pid = os.fork()
    if pid == 0:
        become(jail, request, files, ready)
    return pid


def _in_new_pids(jail: Jail, fork: Callable[[], int]) -> int:
    if jail.pids is None:
        return fork()
    kernel.unshare(namespaces.NEW_PIDS)
    try:
        return fork()
    finally:
        kernel.setns(jail.pids, namespaces.NEW_PIDS)


# ---- waiting


def _wait(jail: Jail, request: Request, children: list[_Child], deadline: float, control: socket.socket) -> None:
    """Reap the children as they end, and kill what goes over a limit."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    for child in children:
        if child.watch >= 0:
            poll.register(child.watch, select.POLLIN)
    while _reap(children, poll):
        events = poll.poll(1000 * _patience(jail, request, children, deadline))
        if any(descriptor == control.fileno() for descriptor, _ in events):
            raise HostGoneError
        if not events:
            _enforce(jail, request, children, deadline)


def _patience(jail: Jail, request: Request, children: list[_Child], deadline: float) -> float:
    """Return how long nothing can go wrong: CPU time passes at most as fast as all cores together."""
    left = [deadline - time.monotonic()]
    left += [(request.cpu_s - _cpu_s(child)) / _CORES for child in children if child.ended is None]
    left += [_LOOK_S] if jail.pids is None else []
    left += [] if _HAS_PIDFD else [_WAKE_S]
    return max(min(left), _WAKE_S)


def _cpu_s(child: _Child) -> float:
    """Read the clock of another process; where there is none, the kernel's own limit has to do."""
    if sys.platform != "linux":
        return 0.0
    try:
        return time.clock_gettime((~child.pid << 3) | 2)
    except OSError:
        return 0.0


def _enforce(jail: Jail, request: Request, children: list[_Child], deadline: float) -> None:
    late = time.monotonic() >= deadline
    full = jail.pids is None and workfolder.overfull(jail.work, request.disk_mib << 20)
    for child in children:
        if child.ended is not None:
            continue
        if late:
            _kill(child, wire.CLOCK)
        elif _cpu_s(child) >= request.cpu_s:
            _kill(child, wire.CPU)
        elif full:
            _kill(child, wire.DISK)
        elif jail.pids is None and _num_threads(child) > request.num_threads:
            _kill(child, wire.THREADS)


def _num_threads(child: _Child) -> int:
    try:
        return os.stat(f"/proc/{child.pid}/task").st_nlink - 2
    except OSError:
        return 1


def _kill(child: _Child, why: int) -> None:
    if child.why == wire.BY_ITSELF:
        child.why = why
    _kill_group(child)  # first, and the child once more: it may not have made its group yet
    with suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own


def _kill_group(child: _Child) -> None:
    """Kill what a child has started: it leads a group of its own. macOS forbids it where all of them have ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _reap(children: list[_Child], poll: "select.poll | None" = None) -> bool:
    """Collect what has ended; say whether any is left. A program has no reason to outlive its driver.

    The driver may only have been faster: how a program ends is its own doing up to the kill.
    """
    for child in children:
        if child.ended is None:
            _collect(child, poll)
    if len(children) == 2 and children[1].ended is not None and children[0].ended is None:
        _kill(children[0], wire.DRIVER_DONE)
    return any(child.ended is None for child in children)


def _collect(child: _Child, poll: "select.poll | None") -> None:
    """Reap a child if it has ended, and leave nothing of its group."""
    if _CAN_LOOK:
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        _kill_group(child)  # before it is reaped, so the number is still its own
    pid, status, usage = os.wait4(child.pid, os.WNOHANG)
    if pid == 0:
        return
    if not _CAN_LOOK:
        _kill_group(child)  # a number is not given away while its group lives
    if poll is not None and child.watch >= 0:
        poll.unregister(child.watch)
    code = os.waitstatus_to_exitcode(status)
    why = wire.BY_ITSELF if child.why == wire.DRIVER_DONE and code != -signal.SIGKILL else child.why
    rss_mib = usage.ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)
    child.ended = Ended(code, why, usage.ru_utime + usage.ru_stime, rss_mib)


# ---- cleaning up


def _not_confined(children: list[_Child]) -> str:
    """Return what kept a child from being confined, or nothing."""
    for child in children:
        said = os.read(child.ready, 512)
        if said != CONFINED:
            return said.decode(errors="replace") or f"ended with status {child.ended} before it was confined"
    return ""


def _end_all(children: list[_Child]) -> None:
    """Kill and reap the children, whatever happened, and close what watched them."""
    for child in children:
        if child.ended is None:
            _kill(child, wire.DRIVER_DONE)
            os.waitpid(child.pid, 0)
        for descriptor in (child.watch, child.ready):
            if descriptor >= 0:
                os.close(descriptor)


def _clean_up(jail: Jail) -> None:
    """Leave nothing of a program where no namespace takes it away."""
    if jail.pids is not None:
        return
    if sys.platform == "linux":
        while _adopted():
            for pid in _adopted():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _reap_any()
    if jail.rules is None:
        workfolder.make(jail.work)  # nothing kept the program from moving the folder itself
    else:
        workfolder.empty(jail.work)


def _adopted() -> list[int]:
    """Return what a program has left running: orphans come to the server, which is a subreaper."""
    try:
        with open("/proc/thread-self/children") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return []


def _reap_any() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
