"""Runs a command with what an unprivileged Docker container has: `python like_docker.py USER COMMAND...`.

Docker's default capabilities for root, none for others, and the calls that its default seccomp profile refuses.
"""

import errno
import os
import struct
import sys

from reasonrl_sandbox.child import kernel, seccomp

REFUSED = [
    "unshare",
    "setns",
    "mount",
    "pivot_root",
    "mount_setattr",
    "ptrace",
    "keyctl",
    "bpf",
    "io_uring_setup",
    "process_vm_readv",
]
CAPABILITIES = 0x00000000A80425FB
NEW_NAMESPACES = 0x7E020000


def refuse() -> bytes:
    """Return a filter: EPERM for what needs CAP_SYS_ADMIN, and for clone() into new namespaces."""
    machine = kernel.machine()
    assert machine is not None
    eperm, allow = 0x00050000 | errno.EPERM, 0x7FFF0000
    steps = [(0x20, 0, 0, 0)]
    for name in REFUSED:
        steps += [(0x15, 0, 1, kernel.number(name, machine) or 0), (0x06, 0, 0, eperm)]
    steps += [(0x15, 0, 1, kernel.number("clone3", machine) or 0), (0x06, 0, 0, 0x00050000 | errno.ENOSYS)]
    steps += [(0x15, 0, 3, kernel.number("clone", machine) or 0), (0x20, 0, 0, 16)]
    steps += [(0x45, 0, 1, NEW_NAMESPACES), (0x06, 0, 0, eperm), (0x06, 0, 0, allow)]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def keep_capabilities(mask: int) -> None:
    """Give up all capabilities but those of the mask, for good."""
    for capability in range(41):
        if not mask >> capability & 1:
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    kernel.syscall("capset", struct.pack("<Ii", 0x20080522, 0), struct.pack("<6I", low, low, 0, high, high, 0))


if __name__ == "__main__":
    user = int(sys.argv[1])
    keep_capabilities(CAPABILITIES)
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(refuse())
    os.execv(sys.argv[2], sys.argv[2:])
