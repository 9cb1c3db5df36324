# expect: failed | output_limit | timeout
# limits: {"cpu_s": 20}
# host: the judge is not kept busy
def add(a, b):
    mask, place, filled, keys, number = 2**17 - 1, 1, {}, [], 2**17
    for step in range(70_000):
        place = (5 * place + 1) & mask
        filled[place] = step
    while len(keys) < 2_000:
        number += 1237
        here, rest = number & mask, number
        while rest and here in filled:
            rest >>= 5
            here = (5 * here + rest + 1) & mask
        if not rest and filled.get(here, 70_000) < 10_000:
            keys.append(number)
    return dict.fromkeys([*filled, *keys], 0)
