# entry: Point
# wrong: self.x + other.x => self.x - other.x
from dataclasses import dataclass


@dataclass
class Point:
    x: int
    y: int = 0

    def __add__(self, other):
        return Point(self.x + other.x, self.y + other.y)
# ---- tests
p = Point(1, 2)
assert p + Point(3, 4) == Point(4, 6)
assert p.x == 1 and p.y == 2
assert Point(5) == Point(5, 0)
assert p != Point(2, 1)
assert repr(p) == "Point(x=1, y=2)"
assert isinstance(p, Point)
assert [p, Point(0)] == [Point(1, 2), Point(0, 0)]
