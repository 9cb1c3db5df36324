# expect: passed
# tests: {"calls": {"entry": "pair", "cases": [{"args": [1, 2], "expected": [1, {"x": 1, "y": 2}]}]}}
import dataclasses
import enum


class Color(enum.IntEnum):
    RED = 1


@dataclasses.dataclass(frozen=True, order=True, slots=True)
class Point:
    x: int
    y: int


def pair(x, y):
    return [Color.RED, dataclasses.asdict(max(Point(x, y), Point(0, 0)))]
