# expect: timeout
# limits: {"cpu_s": 0.5, "wall_s": 1.0}
import time


def add(a, b):
    time.sleep(30)
    return a + b
