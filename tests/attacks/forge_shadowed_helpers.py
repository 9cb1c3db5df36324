# expect: failed | runtime_error
# tests: {"asserts": {"entry": "root", "source": "import math\nfor number in range(1, 5):\n    assert math.isclose(root(number) ** 2, number)\n    assert isinstance(root(number), float)"}}
class math:  # noqa
    @staticmethod
    def isclose(a, b):
        return True


def isinstance(a, b):
    return True


def root(number):
    return -1.0
