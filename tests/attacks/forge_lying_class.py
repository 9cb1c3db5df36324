# expect: failed
class Liar:
    @property
    def __class__(self):
        return int

    def __eq__(self, other):
        return True

    def __index__(self):
        return 5

    __int__ = __index__

    def __hash__(self):
        return 5


def add(a, b):
    return Liar()
