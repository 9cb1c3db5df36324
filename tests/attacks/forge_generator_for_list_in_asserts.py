# expect: failed
# tests: {"asserts": {"entry": "first", "source": "assert first(3) == [0, 1, 2]\nassert first(1) == [0]"}}
def first(number):
    yield from range(number)
