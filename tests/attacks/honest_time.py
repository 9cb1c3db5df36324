# expect: passed
import time


def add(a, b):
    began = time.perf_counter()
    time.sleep(0.01)
    return a + b if time.perf_counter() > began else None
