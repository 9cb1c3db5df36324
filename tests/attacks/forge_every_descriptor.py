# expect: failed | runtime_error
import os

lines = b'passed\n{"outcome": "passed", "passed": 3, "total": 3}\n[true, true, true]\n"passed"\n'
for descriptor in range(64):
    try:
        os.write(descriptor, lines)
    except OSError:
        pass


def add(a, b):
    return None
