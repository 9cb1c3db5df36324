# entry: Vector
# wrong: self.x * k => self.x + k
class Vector:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)

    def __sub__(self, other):
        return Vector(self.x - other.x, self.y - other.y)

    def __mul__(self, k):
        return Vector(self.x * k, self.y * k)

    __rmul__ = __mul__

    def __matmul__(self, other):
        return self.x * other.x + self.y * other.y

    def __neg__(self):
        return Vector(-self.x, -self.y)

    def __eq__(self, other):
        return isinstance(other, Vector) and (self.x, self.y) == (other.x, other.y)

    def __hash__(self):
        return hash((self.x, self.y))

    def __abs__(self):
        return (self.x**2 + self.y**2) ** 0.5

    def __bool__(self):
        return bool(self.x or self.y)

    def __iter__(self):
        yield self.x
        yield self.y

    def __repr__(self):
        return f"Vector({self.x}, {self.y})"
# ---- tests
a, b = Vector(1, 2), Vector(3, 4)
assert a + b == Vector(4, 6)
assert b - a == Vector(2, 2)
assert a * 3 == Vector(3, 6)
assert 3 * a == Vector(3, 6)
assert a @ b == 11
assert -a == Vector(-1, -2)
assert abs(b) == 5.0
assert not Vector(0, 0)
assert a
assert tuple(a) == (1, 2)
x, y = b
assert (x, y) == (3, 4)
assert len({a, Vector(1, 2), b}) == 2
assert str(a) == "Vector(1, 2)"
assert a != b
assert sum([a, b], Vector(0, 0)) == Vector(4, 6)
