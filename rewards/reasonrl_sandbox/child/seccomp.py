"""Which system calls a program may make: an allow-list, assembled to BPF here.

The filter is a search tree over ranges of numbers with a few checks of arguments, so libseccomp, whose bindings need a
shared library, is not used. A call that is not listed fails with EPERM; one that is newer than the list fails with
ENOSYS, so that libraries fall back to an older call.
"""

import ctypes
import errno
import struct

from reasonrl_sandbox.child import kernel

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NEWEST = 451
"""The newest number that was considered for the list."""

_ALLOWED_GROUPS = {
    "reading and writing through descriptors": (
        "read write close lseek pread64 pwrite64 readv writev preadv pwritev preadv2 pwritev2 dup dup2 dup3 pipe "
        "pipe2 sendfile copy_file_range ftruncate fadvise64 fsync fdatasync flock"
    ),
    "files by path; Landlock or a separate file system restricts which": (
        "open openat creat stat lstat fstat newfstatat statx statfs fstatfs access faccessat faccessat2 getdents "
        "getdents64 getcwd chdir fchdir rename renameat renameat2 mkdir mkdirat rmdir link linkat unlink unlinkat "
        "symlink symlinkat readlink readlinkat umask getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr"
    ),
    "memory; mmap has a rule below": "mprotect munmap brk mremap msync madvise membarrier",
    "waiting for descriptors, and sockets that the program already has": (
        "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 "
        "eventfd eventfd2 recvfrom sendmsg recvmsg shutdown getsockname getpeername getsockopt"
    ),
    "signals to itself, and timers": (
        "signalfd signalfd4 rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend "
        "sigaltstack pause alarm getitimer setitimer timer_create timer_settime timer_gettime timer_delete "
        "timer_getoverrun timerfd_create timerfd_settime timerfd_gettime"
    ),
    "clocks": "nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times",
    "threads, and ending": (
        "futex futex_waitv set_robust_list get_robust_list set_tid_address rseq restart_syscall arch_prctl exit "
        "exit_group wait4 waitid sched_yield"
    ),
    "facts about this process and the machine; limits can only be lowered": (
        "getpid gettid getppid getpgrp getpgid getsid getuid geteuid getgid getegid getresuid getresgid getgroups "
        "capget getpriority getrlimit setrlimit getrusage sysinfo uname getrandom getcpu sched_getaffinity "
        "sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval"
    ),
}
ALLOWED = [name for group in _ALLOWED_GROUPS.values() for name in group.split()]

ON_PATHS = ["truncate"]
"""Allowed where a separate file system, or Landlock, restricts the paths."""

ON_OWNERSHIP = [
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
]
"""Calls that Landlock does not cover. Without a mount namespace they succeed and do nothing: a program that runs as the
host's own user could otherwise lock the host out of its files."""

# Return values of linux/seccomp.h, and opcodes of linux/bpf_common.h.
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_ERRNO = 0x00050000
_LOAD, _JUMP, _EQUAL, _AT_LEAST, _ABOVE, _AND, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x25, 0x54, 0x06
_X32 = 0x40000000
"""Bit of x86_64's second ABI, whose numbers would pass by a list of the first."""

_OWN_PID = 0x50494421
"""Stands for the program's own pid until it is known."""

_CLONE_THREAD_AND_FILES = 0x10400
_SHARED_ANONYMOUS = 0x21
"""MAP_SHARED | MAP_ANONYMOUS."""
_CLOSE_RANGE_CLOEXEC = 4
_PRCTL = (3, 15, 16, 21, 23, 39, 0x53564D41)
"""PR_GET_DUMPABLE, SET_NAME, GET_NAME, GET_SECCOMP, CAPBSET_READ, GET_NO_NEW_PRIVS, SET_VMA."""
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
_FCNTL_OTHERS = (8, 10, 15, 1024, 1026)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY: they can send signals to, or block, other processes."""

Instruction = tuple[int, int, int, int]


class _SocketFilter(ctypes.Structure):
    """`struct sock_fprog`: the number of instructions, and where they are."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def _return(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)


def _argument(index: int, *, high: bool = False) -> Instruction:
    """Load the low (or high) half of an argument; both architectures are little-endian."""
    return (_LOAD, 0, 0, 16 + 8 * index + 4 * high)


_REFUSE = _return(_ERRNO | errno.EPERM)


def _one_of(index: int, values: tuple[int, ...]) -> list[Instruction]:
    """Allow the call if an argument is one of the values."""
    checks = [step for value in values for step in ((_EQUAL, 0, 1, value), _return(_ALLOW))]
    return [_argument(index), *checks, _REFUSE]


def _none_of(index: int, values: tuple[int, ...]) -> list[Instruction]:
    """Allow the call unless an argument is one of the values."""
    checks = [step for value in values for step in ((_EQUAL, 0, 1, value), _REFUSE)]
    return [_argument(index), *checks, _return(_ALLOW)]


RULES: dict[str, list[Instruction]] = {
    # Threads that share descriptors, never processes. A filter cannot read clone3's flags, which are in memory: it
    # fails with ENOSYS, and libc falls back to clone.
    "clone": [
        _argument(0),
        (_AND, 0, 0, _CLONE_THREAD_AND_FILES),
        (_EQUAL, 0, 1, _CLONE_THREAD_AND_FILES),
        _return(_ALLOW),
        _REFUSE,
    ],
    # Shared anonymous memory stays allocated while one page of it is mapped, and no limit counts it.
    "mmap": [_argument(3), (_AND, 0, 0, 0x2F), (_EQUAL, 0, 1, _SHARED_ANONYMOUS), _REFUSE, _return(_ALLOW)],
    # No CLOSE_RANGE_UNSHARE: each thread would get a table of descriptors, and a limit, of its own.
    "close_range": _one_of(2, (0, _CLOSE_RANGE_CLOEXEC)),
    # Other modes allocate space that RLIMIT_FSIZE does not count.
    "fallocate": _one_of(1, (0,)),
    "clone3": [_return(_ERRNO | errno.ENOSYS)],
    # Signals to itself only; 0 is its process group, of which it is the only member.
    "kill": _one_of(0, (_OWN_PID, 0)),
    "tgkill": _one_of(0, (_OWN_PID,)),
    "prctl": _one_of(0, _PRCTL),
    "ioctl": _one_of(1, _IOCTL),
    "fcntl": _none_of(1, _FCNTL_OTHERS),
    "prlimit64": _one_of(0, (0, _OWN_PID)),
    # AF_UNIX streams and packets: a datagram socket could be pointed at a path with every message.
    "socketpair": [
        _argument(0),
        (_EQUAL, 1, 0, 1),
        _REFUSE,
        _argument(1),
        (_AND, 0, 0, 0xF),
        (_EQUAL, 1, 0, 1),
        (_EQUAL, 0, 1, 5),
        _return(_ALLOW),
        _REFUSE,
    ],
    # send() is sendto() without an address.
    "sendto": [
        _argument(4),
        (_EQUAL, 0, 3, 0),
        _argument(4, high=True),
        (_EQUAL, 0, 1, 0),
        _return(_ALLOW),
        _REFUSE,
    ],
}
"""Calls that are checked by their arguments; every path through a rule ends in a return."""


def _numbers(names: list[str], architecture: str) -> list[int]:
    found = (kernel.number(name, architecture) for name in names)
    return sorted(code for code in found if code is not None)


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """Join neighbouring numbers."""
    ranges: list[tuple[int, int]] = []
    for code in numbers:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1] = (ranges[-1][0], code)
        else:
            ranges.append((code, code))
    return ranges


def _search(ranges: list[tuple[int, int]]) -> list[Instruction]:
    """Return a binary search. The kernel runs the filter for every number when it is installed, so length costs."""
    if len(ranges) == 1:
        low, high = ranges[0]
        return [(_AT_LEAST, 0, 2, low), (_ABOVE, 1, 0, high), _return(_ALLOW), _REFUSE]
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    return [(_AT_LEAST, 0, 1, ranges[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]


def _on_number(code: int, body: list[Instruction]) -> list[Instruction]:
    return [(_EQUAL, 0, len(body), code), *body]


def assemble(architecture: str, *, own_files: bool, truncate: bool) -> bytes:
    """Return the filter; `for_process` completes it.

    Args:
        architecture: `x86_64` or `aarch64`.
        own_files: the program sees no files but its own and the interpreter's, which are read-only.
        truncate: paths of truncate(2) are restricted by other means.
    """
    steps: list[Instruction] = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, ARCHITECTURES[architecture]), _return(_KILL)]
    steps.append((_LOAD, 0, 0, 0))
    if architecture == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32), _return(_KILL)]
    steps += [(_ABOVE, 0, 1, NEWEST), _return(_ERRNO | errno.ENOSYS)]
    for name, body in RULES.items():
        steps += [step for code in _numbers([name], architecture) for step in _on_number(code, body)]
    allowed = ALLOWED + (ON_PATHS if truncate else []) + (ON_OWNERSHIP if own_files else [])
    if not own_files:
        pretended = [_return(_ERRNO)]
        steps += [step for code in _numbers(ON_OWNERSHIP, architecture) for step in _on_number(code, pretended)]
    steps += _search(_ranges(_numbers(allowed, architecture)))
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def for_process(template: bytes, pid: int) -> bytes:
    """Return the filter for the process whose own pid is `pid`."""
    return template.replace(struct.pack("<I", _OWN_PID), struct.pack("<I", pid))


def install(code: bytes) -> None:
    """Filter the calls of this thread, and of what it starts, irrevocably; needs no_new_privs."""
    program = _SocketFilter(len(code) // 8, code)
    kernel.syscall("seccomp", 1, 0, ctypes.addressof(program))  # SECCOMP_SET_MODE_FILTER
