# expect: failed | runtime_error
# limits: {"wall_s": 2.0}
# tests: {"asserts": {"entry": "add", "source": "for a in range(5):\n    assert add(a, 1) == a + 1"}}
import os

for number in range(1, 50):
    try:
        os.write(5, b'{"i":%d,"v":true}\n' % number)
    except OSError:
        break


def add(a, b):
    return None
