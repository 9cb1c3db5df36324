# expect: failed | output_limit
def add(a, b):
    return [0] * 5_000_000
