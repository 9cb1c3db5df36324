"""Runs one program in a fork server: forks its child or pair of children, enforces the limits, reaps all of them."""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from reasonrl_sandbox.child import kernel, namespaces, wire, workfolder
from reasonrl_sandbox.child.confine import CONFINED, Jail, confine_and_run
from reasonrl_sandbox.child.wire import ChildExit, ResourceLimits, RunReport

_CHECK_S = 0.05
"""Interval of looking at the work folder and the threads where the kernel does not count them."""

_MIN_POLL_S = 0.002
"""Shortest wait, and the interval of asking whether a child has ended where there are no pidfds."""

_CORES = os.cpu_count() or 1
_HAS_PIDFD = hasattr(os, "pidfd_open")
_HAS_WAITID = hasattr(os, "waitid")
"""Whether a child's end can be seen without reaping it; on macOS only newer Pythons can."""


@dataclass(slots=True)
class _Child:
    pid: int
    watch: int
    """Descriptor that is readable when it has ended, or -1."""
    ready: int
    """Descriptor on which it reports that it is confined."""
    why: int = wire.BY_ITSELF
    exit: ChildExit | None = None


class HostDisconnectedError(Exception):
    """The host closed the control socket, or sent something while a program ran."""


def run_program(jail: Jail, limits: ResourceLimits, files: list[int], control: socket.socket) -> RunReport:
    """Run one child, or program and driver, to the end; none of their processes and files are left afterwards."""
    started = time.monotonic()
    children: list[_Child] = []
    try:
        children += _start_all(jail, limits, files)
        _wait(jail, limits, children, started + limits.wall_s, control)
        _check_files_left(jail, limits, children[0])
        detail = _not_confined(children)
    except OSError as error:  # no memory or process for a fork
        detail = f"{type(error).__name__}: {error}"
    finally:
        _end_children(children)
        _clean_up(jail)
    why = {"why": wire.NOT_CONFINED} if detail else {}
    exits = [(child.exit or wire.NOT_RUN)._replace(**why) for child in children]
    exits += [wire.NOT_RUN._replace(**why)] * (2 - len(exits))
    return RunReport(time.monotonic() - started, (exits[0], exits[1]), detail)


# ---- starting


def _start_all(jail: Jail, limits: ResourceLimits, files: list[int]) -> list[_Child]:
    """Start one child, or two with a channel between them."""
    own, other = files[: wire.FILES_PER_CHILD], files[wire.FILES_PER_CHILD :]
    if not other:
        return [_start(jail, limits, own)]
    ends = socket.socketpair()
    with ends[0], ends[1]:
        first = _start(jail, limits, [*own, ends[0].fileno()])
        return [first, _start(jail, limits, [*other, ends[1].fileno()])]


def _start(jail: Jail, limits: ResourceLimits, files: list[int]) -> _Child:
    """Fork a child into a pid namespace of its own, where there are any."""
    ready, theirs = os.pipe()
    try:
        pid = _in_new_pids(jail, lambda: _fork(jail, limits, files, theirs))
    finally:
        os.close(theirs)
    return _Child(pid, os.pidfd_open(pid) if _HAS_PIDFD else -1, ready)


def _fork(jail: Jail, limits: ResourceLimits, files: list[int], ready: int) -> int:
    pid = os.fork()
    if pid == 0:
        confine_and_run(jail, limits, files, ready)
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


def _wait(jail: Jail, limits: ResourceLimits, children: list[_Child], deadline: float, control: socket.socket) -> None:
    """Reap the children as they end, and kill what goes over a limit."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    for child in children:
        if child.watch >= 0:
            poll.register(child.watch, select.POLLIN)
    while _reap(children, poll):
        events = poll.poll(1000 * _poll_timeout_s(jail, limits, children, deadline))
        if any(descriptor == control.fileno() for descriptor, _ in events):
            raise HostDisconnectedError
        if not events:
            _enforce(jail, limits, children, deadline)


def _poll_timeout_s(jail: Jail, limits: ResourceLimits, children: list[_Child], deadline: float) -> float:
    """Return for how long no limit can be exceeded: CPU time passes at most as fast as on all cores together."""
    left = [deadline - time.monotonic()]
    left += [(limits.cpu_s - _cpu_s(child)) / _CORES for child in children if child.exit is None]
    left += [_CHECK_S] if jail.pids is None else []
    left += [] if _HAS_PIDFD else [_MIN_POLL_S]
    return max(min(left), _MIN_POLL_S)


def _cpu_s(child: _Child) -> float:
    """Read the CPU clock of another process; where there is none, RLIMIT_CPU is the only limit."""
    if sys.platform != "linux":
        return 0.0
    try:
        return time.clock_gettime((~child.pid << 3) | 2)  # as clock_getcpuclockid(3) computes it
    except OSError:
        return 0.0


def _enforce(jail: Jail, limits: ResourceLimits, children: list[_Child], deadline: float) -> None:
    late = time.monotonic() >= deadline
    full = jail.pids is None and workfolder.overfull(jail.work, limits.disk_mib << 20)
    for child in children:
        if child.exit is not None:
            continue
        if late:
            _kill(child, wire.CLOCK)
        elif _cpu_s(child) >= limits.cpu_s:
            _kill(child, wire.CPU)
        elif full:
            _kill(child, wire.DISK)
        elif jail.pids is None and _num_threads(child) > limits.num_threads:
            _kill(child, wire.THREADS)


def _check_files_left(jail: Jail, limits: ResourceLimits, program: _Child) -> None:
    """Refuse what a program wrote that had ended before the next look at its folder."""
    ended_by_itself = program.exit is not None and program.exit.why == wire.BY_ITSELF
    if ended_by_itself and jail.pids is None and workfolder.overfull(jail.work, limits.disk_mib << 20, ended=True):
        program.exit = program.exit and program.exit._replace(why=wire.DISK)


def _num_threads(child: _Child) -> int:
    try:
        return os.stat(f"/proc/{child.pid}/task").st_nlink - 2  # a folder for each thread
    except OSError:
        return 1


def _kill(child: _Child, why: int) -> None:
    if child.why == wire.BY_ITSELF:
        child.why = why
    _kill_group(child)
    # The child itself as well: it may not have called setsid yet, and then there is no such group.
    with suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGKILL)  # not reaped yet, so the pid is still its own


def _kill_group(child: _Child) -> None:
    """Kill a child's process group. macOS answers EPERM where all of its processes have ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _reap(children: list[_Child], poll: "select.poll | None" = None) -> bool:
    """Reap the children that have ended; return whether any is left. When the driver ends, its program is killed.

    The program may have been about to end by itself: `DRIVER_DONE` counts only where the kill is what ended it.
    """
    for child in children:
        if child.exit is None:
            _collect(child, poll)
    if len(children) == 2 and children[1].exit is not None and children[0].exit is None:
        _kill(children[0], wire.DRIVER_DONE)
    return any(child.exit is None for child in children)


def _collect(child: _Child, poll: "select.poll | None") -> None:
    """Reap a child if it has ended, and kill what is left of its group."""
    if _HAS_WAITID:
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        _kill_group(child)  # before it is reaped, so the pid is still its own
    pid, status, usage = os.wait4(child.pid, os.WNOHANG)
    if pid == 0:
        return
    if not _HAS_WAITID:
        _kill_group(child)  # a pid is not reused while its group has members
    if poll is not None and child.watch >= 0:
        poll.unregister(child.watch)
    code = os.waitstatus_to_exitcode(status)
    why = wire.BY_ITSELF if child.why == wire.DRIVER_DONE and code != -signal.SIGKILL else child.why
    rss_mib = usage.ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)
    child.exit = ChildExit(code, why, usage.ru_utime + usage.ru_stime, rss_mib)


# ---- cleaning up


def _not_confined(children: list[_Child]) -> str:
    """Return what kept a child from being confined, or an empty text."""
    for child in children:
        said = os.read(child.ready, 512)
        if said != CONFINED:
            return said.decode(errors="replace") or f"ended with status {child.exit} before it was confined"
    return ""


def _end_children(children: list[_Child]) -> None:
    """Kill and reap the children, whatever happened, and close their descriptors."""
    for child in children:
        if child.exit is None:
            _kill(child, wire.DRIVER_DONE)
            os.waitpid(child.pid, 0)
        for descriptor in (child.watch, child.ready):
            if descriptor >= 0:
                os.close(descriptor)


def _clean_up(jail: Jail) -> None:
    """Remove a program's processes and files where they do not go with a namespace."""
    if jail.pids is not None:
        return
    if sys.platform == "linux":
        while orphans := _orphans():
            for pid in orphans:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            _reap_any()
    if jail.rules is None:
        workfolder.make(jail.work)  # without Landlock the program could have moved the folder itself
    else:
        workfolder.empty(jail.work)


def _orphans() -> list[int]:
    """Return the processes that a program left running: the server is a subreaper, so they become its children."""
    try:
        with open("/proc/thread-self/children") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return []


def _reap_any() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
