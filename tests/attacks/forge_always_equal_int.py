# expect: failed
class Equal(int):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def __index__(self):
        return 5

    __int__ = __index__

    def __repr__(self):
        return "5"

    __str__ = __repr__


def add(a, b):
    return Equal(-1)
