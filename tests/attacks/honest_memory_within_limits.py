# expect: passed
def add(a, b):
    held = bytearray(b"x") * (200 << 20)
    return a + b + len(held) - (200 << 20)
