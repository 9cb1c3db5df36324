# expect: passed
# levels: full container
# host: /dev/shm is as it was
from multiprocessing import resource_tracker, shared_memory

resource_tracker.register = lambda *_: None  # It would start a process.
try:
    block = shared_memory.SharedMemory("reasonrl-attack", create=True, size=4096)
    made = True
except (OSError, ImportError):
    made = False


def add(a, b):
    return "made a segment" if made else a + b
