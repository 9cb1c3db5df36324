# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "move", "source": "for by in (1, 3):\n    assert move(Point(1, 2), by) == Point(1 + by, 2 + by)"}}
class Point:
    last = None

    def __init__(self, x, y):
        self.x, self.y = x, y
        if Point.last is not None:
            Point.last.__dict__.pop("hidden", None)
            Point.last.x, Point.last.y = x, y

    def __eq__(self, other):
        return (self.x, self.y) == (other.x, other.y)


def move(point, by):
    Point.last = None
    result = Point(0, 0)
    Point.last = result
    result.hidden = []
    result.hidden.append(result.hidden)
    return result
