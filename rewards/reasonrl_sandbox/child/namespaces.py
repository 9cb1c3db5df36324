"""Namespaces without the machine's files, network and processes, created once for a fork server.

bubblewrap and nsjail create the same, but start a new interpreter for each program.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress

from reasonrl_sandbox.child import interpreter, kernel, workfolder

NEW_MOUNTS, NEW_UTS, NEW_IPC = 0x00020000, 0x04000000, 0x08000000
NEW_USER, NEW_PIDS, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
_AT_RECURSIVE = 0x8000

_ROOT = "/proc"
"""Where the new root is assembled: a folder that exists everywhere and that programs do not see otherwise."""

SERVER_PROCESSES = 8
"""Processes of the user besides a program's threads: the fork server's, and the second child of a pair."""

Step = Callable[[str, Callable[[], str | None]], None]
"""Forms one layer under its name; raises when it cannot be formed."""


def enter(step: Step, packages: Sequence[str], drop_user: Callable[[], str | None]) -> str:
    """Enter new namespaces in which only the interpreter is visible; return the folder where programs may write.

    Root mounts before it drops its user, because that user may not be allowed to read the interpreter's folders; any
    other user can mount only inside of a user namespace.
    """
    own = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)  # the new root has no /proc for uid_map
    work = _work_folder(packages)
    as_root = os.getuid() == 0 and _may_mount()
    if as_root:
        step("mount_namespace", lambda: _new_root(packages, work))
    step("user", drop_user)
    step("user_namespace", lambda: _become_own_root(own))
    if not as_root:
        kernel.unshare(NEW_MOUNTS)
        step("mount_namespace", lambda: _new_root(packages, work))
    os.close(own)
    step("network_namespace", lambda: kernel.unshare(NEW_NETWORK))
    step("ipc_namespace", lambda: kernel.unshare(NEW_IPC | NEW_UTS))
    return work


def _may_mount() -> bool:
    with suppress(OSError):
        kernel.unshare(NEW_MOUNTS)
        return True
    return False


def _become_own_root(own: int) -> None:
    """Enter a user namespace, with capabilities that count only inside and no user of the machine but this one."""
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(NEW_USER)
    # The kernel lets an unprivileged process write gid_map only after setgroups is denied.
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(os.open(name, os.O_WRONLY, dir_fd=own), "w") as file:
            file.write(text)


def _work_folder(packages: Sequence[str]) -> str:
    """Return the folder for a program's files: /tmp, unless the interpreter or a package lives below it."""
    taken = interpreter.roots(packages)
    return next(
        folder for folder in ("/tmp", "/home", "/mnt") if not any(interpreter.beneath(p, folder) for p in taken)
    )


def _new_root(packages: Sequence[str], work: str) -> None:
    """Assemble a root of read-only bind mounts in a tmpfs, change to it, and detach the old one."""
    kernel.mount(None, "/", None, _RECURSIVE | _PRIVATE)  # no mount propagates back to the machine
    kernel.mount("tmpfs", _ROOT, "tmpfs", _NO_SUID | _NO_DEVICES, "size=4m,mode=755")
    everything = interpreter.roots(packages)
    for path in everything:
        _show(path, read_only=True)
    for path in interpreter.hidden(path for path in everything if not os.path.islink(path)):
        _mask(path, [package for package in packages if interpreter.beneath(package, path)])
    for path in filter(os.path.exists, interpreter.DEVICES):
        _show(path, read_only=False)
    os.makedirs(_ROOT + work)
    _pivot()


def _show(path: str, *, read_only: bool) -> None:
    """Bind a path of the machine into the new root under the same name."""
    target = _ROOT + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    _placeholder(path, target)
    kernel.mount(path, target, None, _BIND | _RECURSIVE)
    if read_only:
        _protect(target)


def _placeholder(path: str, target: str) -> None:
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.close(os.open(target, os.O_CREAT, 0o644))


def _protect(target: str) -> None:
    """Make a mount and all below it read-only, without devices and set-uid programs (Linux 5.12)."""
    attributes = b"".join(word.to_bytes(8, "little") for word in (_READ_ONLY | _NO_SUID | _NO_DEVICES, 0, 0, 0))
    kernel.syscall("mount_setattr", kernel.AT_FDCWD, target.encode(), _AT_RECURSIVE, attributes, len(attributes))


def _mask(path: str, packages: Sequence[str]) -> None:
    """Cover a folder of packages with an empty one, and bind only the given packages into it."""
    target = _ROOT + path
    kernel.mount("tmpfs", target, "tmpfs", _NO_SUID | _NO_DEVICES, "size=1m,mode=755")
    for package in packages:
        _show(package, read_only=True)
    _protect(target)


def _pivot() -> None:
    os.chdir(_ROOT)
    # With "." twice the old root is stacked on the new one, so that no folder for it is needed: pivot_root(2), NOTES.
    kernel.syscall("pivot_root", b".", b".")
    kernel.unmount_detached(".")
    os.chdir("/")
    kernel.mount(None, "/", None, _REMOUNT | _BIND | _READ_ONLY | _NO_SUID | _NO_DEVICES)


def own_files(folder: str, disk_mib: int) -> None:
    """Give this process an empty file system in memory, which the kernel frees when it ends."""
    kernel.unshare(NEW_MOUNTS)
    options = f"size={disk_mib}m,nr_inodes={workfolder.MAX_FILES},mode=700"
    kernel.mount("tmpfs", folder, "tmpfs", _NO_SUID | _NO_DEVICES, options)
    os.chdir(folder)
