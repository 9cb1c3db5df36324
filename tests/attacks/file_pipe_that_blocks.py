# expect: passed | timeout
# limits: {"wall_s": 1.0, "cpu_s": 0.5}
# host: whoever cleans up does not open it
import os

try:
    os.mkfifo("pipe")
    os.mkfifo("stdout")
    with open("pipe"):
        pass
except OSError:
    pass


def add(a, b):
    return a + b
