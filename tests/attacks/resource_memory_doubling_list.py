# expect: memory_limit
# limits: {"memory_mib": 192}
# host: memory of the machine
held = [0]
while len(held) < 1 << 29:
    held += held


def add(a, b):
    return a + b
