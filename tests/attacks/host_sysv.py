# expect: passed
# levels: full container
# host: no segment, semaphore or queue is left
import ctypes

libc = ctypes.CDLL(None)
made = [
    name
    for name, number in (
        ("shm", libc.shmget(0x5EA50, 4096, 0o1600)),
        ("sem", libc.semget(0x5EA50, 1, 0o1600)),
        ("msg", libc.msgget(0x5EA50, 0o1600)),
    )
    if number >= 0
]


def add(a, b):
    return f"{made}" if made else a + b
