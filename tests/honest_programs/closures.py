# entry: counter
# names: counter, adder
# wrong: count += step => count -= step
def counter(step=1):
    count = 0

    def tick():
        nonlocal count
        count += step
        return count

    return tick


def adder(n):
    return lambda x: x + n
# ---- tests-file
tick = counter()
assert tick() == 1
assert tick() == 2
other = counter(5)
assert other() == 5
assert tick() == 3
assert adder(3)(4) == 7
assert list(map(adder(1), [1, 2])) == [2, 3]
assert sorted(["bb", "a"], key=adder.__class__ and len) == ["a", "bb"]
