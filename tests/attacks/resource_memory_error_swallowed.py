# expect: timeout | memory_limit
# limits: {"cpu_s": 0.5, "memory_mib": 192}
import time

held = []
end = time.time() + 20
while time.time() < end:
    try:
        held.append(bytearray(16 << 20))
    except MemoryError:
        pass


def add(a, b):
    return a + b
