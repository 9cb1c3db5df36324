# expect: memory_limit
# limits: {"memory_mib": 192}
def add(a, b):
    text = "x" * (2 << 30)
    return a + b + len(text) - (2 << 30)
