# expect: timeout
# limits: {"cpu_s": 0.5, "wall_s": 1.0}
# tests: {"asserts": {"entry": "add", "source": "for a in range(5):\n    assert add(a, 1) == a + 1"}}
import time


def add(a, b):
    time.sleep(30)
    return a + b
