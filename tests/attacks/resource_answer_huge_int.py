# expect: failed | output_limit
def add(a, b):
    return 1 << 40_000_000
