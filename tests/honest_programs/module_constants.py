# entry: clamp
# names: clamp, LIMIT, NAMES
# wrong: LIMIT = 10 => LIMIT = 11
LIMIT = 10
NAMES = ("a", "b")


def clamp(x):
    return min(x, LIMIT)
# ---- tests-file
assert LIMIT == 10
assert NAMES == ("a", "b")
assert clamp(50) == 10
assert clamp(LIMIT + 5) == 10
assert clamp(3) == 3
