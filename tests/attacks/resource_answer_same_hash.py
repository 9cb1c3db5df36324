# expect: failed | output_limit
# host: the judge is not kept busy
def add(a, b):
    return {number * (2**61 - 1): number for number in range(1, 3000)}
