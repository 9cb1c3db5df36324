# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "point", "source": "for x in (1, 3):\n    assert point(x).x == x\n    assert point(x) == (x, -x)"}}
from collections import namedtuple


class Point(namedtuple("Point", "a b")):
    @property
    def x(self):
        return self[0]

    def __eq__(self, other):
        return True

    __hash__ = None


def point(x):
    return Point(x, x)
