# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "move", "source": "for by in (1, 3):\n    assert move(Point(1, 2), by) == Point(1 + by, 2 + by)"}}
import sys

made = []


def harness():
    frame = sys._getframe()
    while frame is not None:
        yield frame.f_globals
        if "Candidate" in frame.f_globals:
            yield frame.f_globals["Candidate"].reply.__globals__
        frame = frame.f_back


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y
        made.append((None, {"x": x, "y": y}))

    def __eq__(self, other):
        return True


for space in list(harness()):
    if "Candidate" in space:
        number = space['Candidate'].number
        space['Candidate'].number = lambda self, thing: 99 if isinstance(thing, Point) else number(self, thing)


def move(point, by):
    return Point(0, 0)
