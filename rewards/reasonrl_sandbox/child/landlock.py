"""Restricts which files a program may read and write, by Landlock (three system calls, no library needed).

Unlike a mount namespace it works in an unprivileged container. It does not cover chmod, UDP or sockets other than TCP:
seccomp refuses those.
"""

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from reasonrl_sandbox.child import kernel

# Access rights of linux/landlock.h.
_EXECUTE, _WRITE, _READ, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 10, 1 << 11
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE
"""Rights that a rule about a single file can carry."""
_NODES = _MAKE_CHAR | _MAKE_SOCK | _MAKE_FIFO | _MAKE_BLOCK
_TCP = 0b11
"""Binding and connecting TCP ports; no rule allows either."""
_SCOPES = 0b11
"""Abstract Unix sockets and signals outside of the ruleset's domain are refused."""


@dataclass(frozen=True, slots=True)
class Paths:
    """What a program may reach."""

    read: tuple[str, ...]
    """Files, and folders with all below them."""
    list: tuple[str, ...]
    """Folders whose names may be read, and of what is below them, but not the files."""
    write: tuple[str, ...]
    """Folders with all below them, and devices."""


def abi() -> int:
    """Return the version that the running kernel has, or 0 when it has no Landlock or was started without it."""
    try:
        return kernel.syscall("landlock_create_ruleset", None, 0, 1)  # LANDLOCK_CREATE_RULESET_VERSION
    except OSError:
        return 0


def _handled(version: int) -> int:
    """Return every right on files that this version can restrict."""
    rights = (1 << 13) - 1  # those of version 1; a kernel refuses a ruleset with rights that it does not know
    for since, right in ((2, 1 << 13), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        rights |= right if version >= since else 0
    return rights


def ruleset(version: int, paths: Paths) -> int:
    """Return a descriptor of the rules; `enter` applies them."""
    rights = _handled(version)
    words = (rights, _TCP, _SCOPES)[: 3 if version >= 6 else 2 if version >= 4 else 1]
    attributes = struct.pack(f"<{len(words)}Q", *words)
    rules = kernel.syscall("landlock_create_ruleset", attributes, len(attributes), 0)
    _allow(rules, paths.read, _READ | _READ_DIR | _EXECUTE)
    _allow(rules, paths.list, _READ_DIR)
    _allow(rules, paths.write, rights & ~_NODES)
    return rules


def _allow(rules: int, paths: Iterable[str], rights: int) -> None:
    for path in paths:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
        allowed = rights if os.path.isdir(path) else rights & _ON_FILES
        kernel.syscall("landlock_add_rule", rules, 1, struct.pack("<Qi", allowed, beneath), 0)
        os.close(beneath)


def enter(rules: int) -> None:
    """Restrict this thread, and what it starts, irrevocably; needs no_new_privs."""
    kernel.syscall("landlock_restrict_self", rules, 0)
