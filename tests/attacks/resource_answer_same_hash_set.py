# expect: failed | output_limit | timeout
# limits: {"cpu_s": 1}
# host: the judge is not kept busy
def add(a, b):
    return frozenset(number * (2**61 - 1) for number in range(1, 6000))
