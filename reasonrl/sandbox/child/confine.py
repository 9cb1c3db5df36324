"""From a fork of the server to a process that can run anything: descriptors, limits, files, calls, capabilities."""

import fcntl
import gc
import math
import os
import resource
import sys
from dataclasses import dataclass
from typing import NoReturn

from reasonrl.sandbox.child import kernel, landlock, namespaces, seccomp
from reasonrl.sandbox.child.play import play
from reasonrl.sandbox.child.wire import Request

CONFINED = b"k"
"""What a child says before it looks at its program. Without it the program was never begun."""

_STACK_BYTES = 64 << 20
_ABOVE_ALL = 200
"""Descriptors are moved up here before they take their places; a server has far fewer."""


@dataclass(frozen=True, slots=True)
class Jail:
    """What a fork server has prepared for its children."""

    level: str
    work: str
    """Folder for a program's files."""
    packages: tuple[str, ...] = ()
    """Files and folders of what was imported beyond the standard library."""
    pids: int | None = None
    """Descriptor of the server in whose pid namespace the children's are made; None without namespaces."""
    count_threads: bool = False
    """Whether nobody else's threads count towards the user's."""
    landlock_abi: int = 0
    """Version of Landlock; 0 without."""
    rules: int | None = None
    """Descriptor of Landlock's rules where they are the same for every program."""
    calls: bytes = b""
    """The filter for system calls, for any pid; empty without."""
    libraries: tuple[int, ...] = ()
    """Descriptors of the interpreter's folders, where the programs' user could not reach them by name."""


def become(jail: Jail, request: Request, files: list[int], ready: int) -> NoReturn:
    """Turn this fork into a confined child and run what its body says."""
    try:
        ready = _place(files, ready, jail)
        _confine(jail, request)
    except BaseException as error:
        os.write(ready, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    os.write(ready, CONFINED)
    os.close(ready)
    play()


def _place(files: list[int], ready: int, jail: Jail) -> int:
    """Give every descriptor its number and close all others; return the one to report on."""
    body, *streams, answers = files[:5]
    order = [*streams, body, answers, *files[5:]]
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _ABOVE_ALL) for descriptor in (*order, ready)]
    for place, descriptor in enumerate(high[:-1]):
        os.dup2(descriptor, place)
    kept = sorted((*jail.libraries, *((jail.rules,) if jail.rules is not None else ()), high[-1]))
    first = len(order)
    for descriptor in kept:
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, 2 * _ABOVE_ALL)
    return high[-1]


def _confine(jail: Jail, request: Request) -> None:
    """Everything that cannot be taken back, before an untrusted byte is looked at."""
    os.setsid()
    if sys.platform == "linux":
        kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)
    if jail.pids is not None:
        namespaces.own_files(jail.work, request.disk_mib)
    else:
        os.chdir(jail.work)
    if jail.landlock_abi:
        _restrict_files(jail)
    _limit(jail, request)
    if sys.platform == "linux":
        kernel.drop_capabilities()
    if jail.calls:
        seccomp.install(seccomp.for_process(jail.calls, os.getpid()))
    gc.enable()


def _restrict_files(jail: Jail) -> None:
    rules = jail.rules
    if rules is None:
        rules = landlock.ruleset(jail.landlock_abi, landlock.Paths(("/",), (), (jail.work, "/dev")))
    landlock.enter(rules)
    os.close(rules)


def _limit(jail: Jail, request: Request) -> None:
    """Set the limits of the process, address space last."""
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: math.ceil(request.cpu_s) + 1,  # the server's own clock is exact, this one counts ticks
        resource.RLIMIT_FSIZE: request.output_bytes,
        resource.RLIMIT_NOFILE: request.num_files,
        resource.RLIMIT_STACK: _STACK_BYTES,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if jail.count_threads:
        limits[resource.RLIMIT_NPROC] = request.num_threads + namespaces.SERVER_PROCESSES
    if sys.platform == "linux":  # macOS refuses it
        limits[resource.RLIMIT_AS] = request.memory_bytes
    for what, most in limits.items():
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))
