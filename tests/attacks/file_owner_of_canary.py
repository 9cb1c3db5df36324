# expect: passed | runtime_error
# levels: full container
# host: mode, owner, times and attributes of the canary are as they were
import contextlib
import ctypes
import os

for path in ("CANARY_FOLDER/secret", "CANARY_FOLDER"):
    for act in (
        lambda: os.chmod(path, 0o700),
        lambda: os.chown(path, os.getuid(), os.getgid()),
        lambda: os.utime(path, (1, 1)),
        lambda: os.setxattr(path, "user.canary", b"1"),
        lambda: os.lchown(path, os.getuid(), -1),
    ):
        with contextlib.suppress(OSError):
            act()
    descriptor = -1
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_PATH)
        os.chmod(f"/proc/self/fd/{descriptor}", 0o700)
    libc = ctypes.CDLL(None)
    libc.syscall(452, -100, path.encode(), 0o700, 0)  # fchmodat2
    libc.syscall(463, -100, path.encode(), 0, b"user.canary", ctypes.create_string_buffer(16), 16)  # setxattrat
    libc.fchmodat(descriptor, b"", 0o700, 0x1000)
    libc.fchownat(descriptor, b"", os.getuid(), os.getgid(), 0x1000)
    libc.utimensat(-100, path.encode(), None, 0)


def add(a, b):
    return a + b
