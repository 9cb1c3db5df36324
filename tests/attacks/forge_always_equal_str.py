# expect: failed
# tests: {"calls": {"entry": "reverse", "cases": [{"args": ["abc"], "expected": "cba"}]}}
class Equal(str):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __str__(self):
        return "cba"

    __repr__ = encode = lower = strip = __str__


def reverse(text):
    return Equal("anything")
