# expect: passed
# levels: full container
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


allowed = []
buffer = ctypes.create_string_buffer(16)
for pid in (os.getppid(), CANARY_PID):
    local, remote = Vector(ctypes.addressof(buffer), 16), Vector(id(None), 16)
    done = libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    if done >= 0 or ctypes.get_errno() == 14:  # EFAULT: it was allowed to look
        allowed.append(pid)


def add(a, b):
    return "read memory" if allowed else a + b
