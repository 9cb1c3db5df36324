# expect: timeout
# limits: {"cpu_s": 0.5}
def add(a, b):
    return 3 ** (3 * 10**7) % 7 + a + b
