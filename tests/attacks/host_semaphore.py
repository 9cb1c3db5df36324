# expect: passed
# levels: full container
# host: /dev/shm is as it was
try:
    import _multiprocessing

    _multiprocessing.SemLock(1, 1, 1, "/reasonrl-attack", False)
    made = True
except (OSError, ImportError):
    made = False


def add(a, b):
    return "made a semaphore" if made else a + b
