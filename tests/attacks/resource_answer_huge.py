# expect: failed | output_limit
def add(a, b):
    return "x" * (20 << 20)
