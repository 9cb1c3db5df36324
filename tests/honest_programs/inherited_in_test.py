# entry: Shape
# wrong: f"{self.name()} with area {self.area()}" => f"{self.name()}"
from abc import ABC, abstractmethod


class Shape(ABC):
    def __init__(self, label="shape"):
        self.label = label

    @abstractmethod
    def area(self): ...

    def name(self):
        return self.label

    def describe(self):
        return f"{self.name()} with area {self.area()}"
# ---- tests
class Square(Shape):
    def __init__(self, side):
        super().__init__("square")
        self.side = side
    def area(self):
        return self.side ** 2
s = Square(3)
assert s.area() == 9
assert s.describe() == "square with area 9"
assert isinstance(s, Shape)
assert issubclass(Square, Shape)
try:
    Shape()
    abstract = False
except TypeError:
    abstract = True
assert abstract
