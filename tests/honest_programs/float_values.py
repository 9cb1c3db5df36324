# entry: circle
# wrong: math.pi * r => math.pi + r
import math


class Circle:
    def __init__(self, r):
        self.r = r

    @property
    def area(self):
        return math.pi * r * r if (r := self.r) else 0.0


def circle(r):
    return Circle(r)
# ---- tests
import math
assert math.isclose(circle(2).area, 4 * math.pi)
assert abs(circle(1).area - 3.14159) < 1e-4
assert round(circle(1).area, 2) == 3.14
assert circle(0).area == 0
