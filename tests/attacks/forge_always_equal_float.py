# expect: failed
# tests: {"calls": {"entry": "half", "cases": [{"args": [3], "expected": 1.5}]}}
class Equal(float):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __float__(self):
        return 1.5

    def __repr__(self):
        return "1.5"

    def __sub__(self, other):
        return 0.0

    __rsub__ = __abs__ = __sub__


def half(number):
    return Equal("nan")
