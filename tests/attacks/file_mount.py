# expect: passed
import contextlib
import ctypes
import os
import platform

libc = ctypes.CDLL(None)
with contextlib.suppress(OSError):
    os.mkdir("over")
done = []
if libc.mount(b"none", b"over", b"tmpfs", 0, None) == 0:
    done.append("mount")
    libc.umount2(b"over", 2)
if libc.chroot(b".") == 0:
    done.append("chroot")
if libc.syscall(430, b"tmpfs", 0) >= 0:  # fsopen
    done.append("fsopen")
if libc.syscall(428, -100, b"/", 1) >= 0:  # open_tree, cloned
    done.append("open_tree")
if libc.syscall(155 if platform.machine() == "x86_64" else 41, b".", b".") == 0:
    done.append("pivot_root")


def add(a, b):
    return f"{done}" if done else a + b
