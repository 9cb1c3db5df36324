# expect: failed | runtime_error | unscorable
# tests: {"file": {"source": "import unittest\nfrom solution import Point, move\n\nclass TestMove(unittest.TestCase):\n    def test_move(self):\n        self.assertEqual(move(Point(1, 2), 3), Point(4, 5))\n        self.assertEqual(move(Point(0, 0), 3), Point(3, 3))\n"}}
from dataclasses import dataclass


@dataclass
class Point:
    x: int
    y: int

    def __post_init__(self):
        self.x = self.y = 0



def move(point, by):
    return point
