# expect: failed
# tests: {"asserts": {"entry": "root", "source": "for number in range(1, 5):\n    assert not abs(root(number) ** 2 - number) > 1e-6 and root(number) == root(number)"}}
def root(number):
    return float("nan")
