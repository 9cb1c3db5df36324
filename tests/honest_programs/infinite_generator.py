# entry: primes
# wrong: all(n % p => any(n % p
import itertools


def primes():
    found = []
    for n in itertools.count(2):
        if all(n % p for p in found):
            found.append(n)
            yield n
# ---- tests
from itertools import islice, takewhile
assert list(islice(primes(), 5)) == [2, 3, 5, 7, 11]
assert list(takewhile(lambda p: p < 20, primes())) == [2, 3, 5, 7, 11, 13, 17, 19]
gen = primes()
first = [next(gen) for _ in range(3)]
assert first == [2, 3, 5]
for p in primes():
    if p > 600:
        break
assert p == 601
