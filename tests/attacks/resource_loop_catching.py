# expect: timeout
# limits: {"cpu_s": 0.5}
import time

end = time.time() + 30
while time.time() < end:
    try:
        while time.time() < end:
            pass
    except BaseException:
        pass


def add(a, b):
    return a + b
