"""System calls that Python does not wrap, through ctypes. Each raises OSError as `os` would."""

import ctypes
import os
import platform

from reasonrl_sandbox.child.syscalls import NUMBERS

MACHINES = ("x86_64", "aarch64")
"""Architectures whose numbers are known; in the order of `NUMBERS`."""

AT_FDCWD = -100
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 24, 36, 38
"""From linux/prctl.h."""

_CAPABILITIES_V3 = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3 of linux/capability.h: three masks of 64 bits."""

_MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


def machine() -> str | None:
    """Return the architecture under the kernel's name for it, or None where its numbers are not known."""
    name = platform.machine()
    return name if name in MACHINES else None


def number(name: str, architecture: str) -> int | None:
    """Return the number of a system call, or None where the architecture has no such call."""
    return NUMBERS[name][MACHINES.index(architecture)]


def checked(result: int) -> int:
    """Return what a C function returned, or raise what `errno` says."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def syscall(name: str, *arguments: int | bytes | None) -> int:
    """Make a system call that libc has no function for."""
    architecture = machine()
    code = number(name, architecture) if architecture else None
    if code is None:
        raise OSError(f"no number is known for {name} on {platform.machine()}")
    words = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return checked(libc.syscall(ctypes.c_long(code), *words))


def prctl(option: int, value: int = 0) -> int:
    """Call prctl(2)."""
    return checked(libc.prctl(option, *(ctypes.c_ulong(word) for word in (value, 0, 0, 0))))


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Call mount(2)."""
    texts = [None if text is None else text.encode() for text in (source, target, kind, options)]
    checked(libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]))


def unmount_detached(target: str) -> None:
    """Detach a mount at once; the kernel frees it when nothing uses it any more."""
    checked(libc.umount2(target.encode(), _MNT_DETACH))


def unshare(flags: int) -> None:
    """Move into new namespaces."""
    checked(libc.unshare(flags))


def setns(descriptor: int, flags: int) -> None:
    """Move into the namespaces that a descriptor stands for."""
    checked(libc.setns(descriptor, flags))


def drop_bounding_set() -> None:
    """Empty the capability bounding set, so that no executed file can grant a capability; needs CAP_SETPCAP."""
    capability = 0  # the kernel knows how many there are: it refuses the first number beyond them
    while libc.prctl(PR_CAPBSET_DROP, *(ctypes.c_ulong(word) for word in (capability, 0, 0, 0))) == 0:
        capability += 1


def drop_capabilities() -> None:
    """Give up every capability, irrevocably."""
    syscall("capset", _CAPABILITIES_V3.to_bytes(4, "little") + bytes(4), bytes(24))
