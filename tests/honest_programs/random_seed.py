# entry: shuffled
# wrong: random.shuffle(copy) => copy.sort()
import random


def shuffled(items):
    copy = list(items)
    random.shuffle(copy)
    return copy
# ---- tests
import random
random.seed(7)
first = shuffled(range(20))
random.seed(7)
second = shuffled(range(20))
assert first == second
assert sorted(first) == list(range(20))
random.seed(7)
expected = list(range(20))
random.shuffle(expected)
random.seed(7)
assert shuffled(range(20)) == expected
