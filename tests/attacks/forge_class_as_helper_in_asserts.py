# expect: unscorable
# tests: {"asserts": {"entry": "root", "source": "for number in (4, 9):\n    assert Close(root(number) ** 2, number)"}}
class Close:
    def __init__(self, left, right):
        pass


def root(number):
    return 0
