# expect: passed
# host: no capability, and none to be had
import ctypes

libc = ctypes.CDLL(None)
header = ctypes.create_string_buffer(b"\x22\x05\x08\x20" + bytes(4), 8)
sets = ctypes.create_string_buffer(24)
libc.capget(header, sets)
new_privileges_possible = libc.prctl(39, 0, 0, 0, 0) == 0


def add(a, b):
    return "has capabilities" if any(sets.raw[:8]) or new_privileges_possible else a + b
