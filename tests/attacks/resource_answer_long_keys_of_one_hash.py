# expect: failed | output_limit | timeout
# host: the judge is not kept busy
def add(a, b):
    shared = tuple(range(300))
    return {(shared, number * (2**61 - 1)): 0 for number in range(600)}
