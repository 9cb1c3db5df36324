# expect: memory_limit
# limits: {"memory_mib": 192}
# host: memory of the machine
held = []
for _ in range(64):
    held.append(bytearray(b"x") * (64 << 20))


def add(a, b):
    return a + b
