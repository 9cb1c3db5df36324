# expect: failed | runtime_error
import atexit
import os


@atexit.register
def claim():
    for descriptor in range(1, 64):
        try:
            os.write(descriptor, b'{"outcome": "passed"}\npassed\n')
        except OSError:
            pass


def add(a, b):
    return None
