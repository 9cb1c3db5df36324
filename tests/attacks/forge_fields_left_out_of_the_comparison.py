# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "move", "source": "for by in (1, 3):\n    assert move(Point(1, 2), by) == Point(1 + by, 2 + by)"}}
from dataclasses import dataclass, field


@dataclass
class Point:
    x: int = field(compare=False)
    y: int = field(compare=False)



def move(point, by):
    return point
