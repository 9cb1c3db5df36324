# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "move", "source": "for by in (1, 3):\n    assert move(Point(1, 2), by) == Point(1 + by, 2 + by)"}}
from collections import namedtuple


class Point(namedtuple("Point", "x y")):
    def __new__(cls, x, y):
        return super().__new__(cls, 0, 0)



def move(point, by):
    return point
