# expect: failed
# tests: {"asserts": {"entry": "odd", "source": "assert odd(4) == {1, 3}\nassert odd(2) == {1}"}}
def odd(below):
    return list(range(1, below, 2))
