# expect: memory_limit | runtime_error
# limits: {"memory_mib": 192}
# host: memory of the machine
import mmap

held = []
for _ in range(40):
    held.append(mmap.mmap(-1, 64 << 20))
    held[-1].write(b"x" * (64 << 20))


def add(a, b):
    return a + b
