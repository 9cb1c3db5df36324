# expect: failed
# tests: {"asserts": {"entry": "root", "source": "for number in (4, 9):\n    assert isclose(root(number), sqrt(number))"}}
def isclose(left, right):
    return True


def sqrt(number):
    return root(number)


def root(number):
    return 0.0
