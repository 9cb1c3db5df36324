# entry: countdown
# wrong: n -= 1 => n -= 2
def countdown(n):
    while n > 0:
        yield n
        n -= 1
# ---- tests
g = countdown(3)
assert next(g) == 3
assert next(g) == 2
assert list(g) == [1]
assert next(g, "done") == "done"
assert list(countdown(2)) == [2, 1]
assert [n * 2 for n in countdown(3)] == [6, 4, 2]
assert sum(countdown(100)) == 5050
