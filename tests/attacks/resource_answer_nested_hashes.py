# expect: failed | output_limit | timeout
# host: the judge is not kept busy
def add(a, b):
    def family(depth, seed):
        if not depth:
            return frozenset([number * (2**61 - 1) for number in range(1, 30)] + [(1000 + seed) * (2**61 - 1)])
        return frozenset([family(depth - 1, number) for number in range(29)] + [family(depth - 1, 1000 + seed)])

    return family(2, 0)
