# expect: failed | runtime_error
# tests: {"asserts": {"entry": "add", "source": "for a in range(5):\n    assert add(a, 1) == a + 1"}}
import os


def add(a, b):
    os._exit(0)
