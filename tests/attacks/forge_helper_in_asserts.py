# expect: unscorable
# tests: {"asserts": {"entry": "root", "source": "for number in (4, 9):\n    assert almost(root(number) ** 2, number)"}}
def almost(left, right):
    return True


def root(number):
    return 0
