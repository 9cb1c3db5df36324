# expect: timeout
# limits: {"cpu_s": 0.5, "wall_s": 1.0}
import threading

lock = threading.Lock()


def add(a, b):
    lock.acquire(timeout=30)
    lock.acquire(timeout=30)
    return a + b
