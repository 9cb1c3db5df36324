# expect: failed | runtime_error
# tests: {"asserts": {"entry": "root", "source": "for number in range(1, 5):\n    assert abs(root(number) ** 2 - number) < 1e-6"}}
class Small(float):
    def __abs__(self):
        return Small(0)

    def __pow__(self, other):
        return Small(0)

    def __sub__(self, other):
        return Small(0)

    def __lt__(self, other):
        return True


def root(number):
    return Small(-100)
