# expect: passed
# levels: full container
# host: keys outlive processes
import ctypes
import platform

libc = ctypes.CDLL(None)
add_key, request_key, keyctl = (248, 249, 250) if platform.machine() == "x86_64" else (217, 218, 219)
kept = [ring for ring in (-3, -4, -5) if libc.syscall(add_key, b"user", b"reasonrl-attack", b"hello", 5, ring) >= 0]
for ring in kept:
    libc.syscall(keyctl, 7, ring)


def add(a, b):
    return f"{kept}" if kept else a + b
