# names: *
# wrong: return a * b => return a + b
class Rect:
    def __init__(self, a, b):
        self.a, self.b = a, b


def area(a, b):
    return a * b


def rect_area(rect):
    return area(rect.a, rect.b)
# ---- tests
from solution import *
def test_area():
    assert area(2, 5) == 10
def test_rect():
    assert rect_area(Rect(2, 4)) == 8
