# expect: failed
class Equal:
    def __eq__(self, other):
        return True

    __ne__ = __lt__ = __gt__ = lambda self, other: False
    __le__ = __ge__ = __eq__

    def __hash__(self):
        return 0

    def __sub__(self, other):
        return 0

    __rsub__ = __abs__ = __float__ = __sub__


def add(*arguments):
    return Equal()
