# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "move", "source": "assert move(Point(1, 2), 3) == Point(4, 5)\nassert move(Point(0, 0), 1) != Point(0, 0)"}}
class Yes:
    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return True

    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__

    def __hash__(self):
        return 0

    def __bool__(self):
        return True

    def __sub__(self, other):
        return 0

    __rsub__ = __mod__ = __abs__ = lambda self, *_: 0

    def __getattr__(self, name):
        return self

    def __call__(self, *_, **__):
        return self

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0


class Point(Yes):
    def __init__(self, x, y):
        self.x, self.y = x, y


def move(point, by):
    return point
