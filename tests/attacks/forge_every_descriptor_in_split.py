# expect: failed | runtime_error | timeout
# limits: {"wall_s": 2.0}
# tests: {"asserts": {"entry": "add", "source": "for a in range(5):\n    assert add(a, 1) == a + 1"}}
import os


def add(a, b):
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b'{"outcome": "passed"}\npassed\ntrue\n\x00\x00\x00\x04true' * 3)
        except OSError:
            pass
    os._exit(0)
