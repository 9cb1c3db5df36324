"""Confines a fork of the server before it runs a program: descriptors, files, limits, capabilities, system calls."""

import fcntl
import gc
import math
import os
import resource
import sys
from dataclasses import dataclass
from typing import NoReturn

from reasonrl_sandbox.child import kernel, landlock, namespaces, seccomp
from reasonrl_sandbox.child.execute import execute
from reasonrl_sandbox.child.wire import ResourceLimits

CONFINED = b"k"
"""What a child writes once it is confined, before it reads its program. Without it the program was never started."""

_STACK_BYTES = 64 << 20
_STAGING_DESCRIPTOR = 200
"""Descriptors are duplicated from this number on before they get their final numbers; a server has far fewer."""


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
    """Whether no other process's threads count towards the user's."""
    landlock_abi: int = 0
    """Version of Landlock; 0 without."""
    rules: int | None = None
    """Descriptor of the Landlock ruleset where it is the same for every program."""
    calls: bytes = b""
    """The filter for system calls, for any pid; empty without."""
    libraries: tuple[int, ...] = ()
    """Descriptors of the interpreter's folders, where the programs' user could not open them by path."""


def confine_and_run(jail: Jail, limits: ResourceLimits, files: list[int], ready: int) -> NoReturn:
    """Turn this fork into a confined child and run what its body says."""
    try:
        ready = _place_descriptors(files, ready, jail)
        _confine(jail, limits)
    except BaseException as error:
        os.write(ready, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    os.write(ready, CONFINED)
    os.close(ready)
    execute()


def _place_descriptors(files: list[int], ready: int, jail: Jail) -> int:
    """Give every descriptor its number and close all others; return the one to report on."""
    body, *streams, answers = files[:5]
    order = [*streams, body, answers, *files[5:]]
    # Two passes: a direct dup2 could overwrite a descriptor that is still to be moved.
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _STAGING_DESCRIPTOR) for descriptor in (*order, ready)]
    for number, descriptor in enumerate(high[:-1]):
        os.dup2(descriptor, number)
    kept = sorted((*jail.libraries, *((jail.rules,) if jail.rules is not None else ()), high[-1]))
    first = len(order)
    for descriptor in kept:
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, 2 * _STAGING_DESCRIPTOR)
    return high[-1]


def _confine(jail: Jail, limits: ResourceLimits) -> None:
    """Apply every restriction, none of which can be undone, before an untrusted byte is read.

    The order matters: mounting needs the capabilities that are dropped later, and the filter comes last, because it
    refuses the system calls of the steps before it.
    """
    os.setsid()
    if sys.platform == "linux":
        kernel.prctl(kernel.PR_SET_PDEATHSIG, 9)
    if jail.pids is not None:
        namespaces.own_files(jail.work, limits.disk_mib)
    else:
        os.chdir(jail.work)
    if jail.landlock_abi:
        _restrict_files(jail)
    _set_rlimits(jail, limits)
    if sys.platform == "linux":
        kernel.drop_capabilities()
    if jail.calls:
        seccomp.install(seccomp.for_process(jail.calls, os.getpid()))
    gc.enable()


def _restrict_files(jail: Jail) -> None:
    rules = jail.rules
    if rules is None:  # level full: the file system of this child did not exist when the server started
        rules = landlock.ruleset(jail.landlock_abi, landlock.Paths(("/",), (), (jail.work, "/dev")))
    landlock.enter(rules)
    os.close(rules)


def _set_rlimits(jail: Jail, limits: ResourceLimits) -> None:
    values = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: math.ceil(limits.cpu_s) + 1,  # the server's own clock is exact, this one counts ticks
        resource.RLIMIT_FSIZE: limits.output_bytes,
        resource.RLIMIT_NOFILE: limits.num_files,
        resource.RLIMIT_STACK: _STACK_BYTES,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if jail.count_threads:
        values[resource.RLIMIT_NPROC] = limits.num_threads + namespaces.SERVER_PROCESSES
    if sys.platform == "linux":  # macOS refuses it
        values[resource.RLIMIT_AS] = limits.memory_bytes  # last: what precedes it allocates
    for kind, value in values.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
