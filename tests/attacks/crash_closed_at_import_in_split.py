# expect: failed | runtime_error
# tests: {"asserts": {"entry": "add", "source": "for a in range(5):\n    assert add(a, 1) == a + 1"}}
import os

os.closerange(0, 256)


def add(a, b):
    return a + b
