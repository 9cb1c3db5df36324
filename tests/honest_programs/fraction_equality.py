# entry: Rational
# wrong: d // g => d
from math import gcd


class Rational:
    def __init__(self, n, d=1):
        if d == 0:
            raise ZeroDivisionError("denominator is zero")
        g = gcd(n, d)
        self.n, self.d = n // g, d // g

    def __add__(self, other):
        return Rational(self.n * other.d + other.n * self.d, self.d * other.d)

    def __eq__(self, other):
        return (self.n, self.d) == (other.n, other.d)

    def __float__(self):
        return self.n / self.d

    def __repr__(self):
        return f"{self.n}/{self.d}"
# ---- tests
assert Rational(1, 2) == Rational(2, 4)
assert Rational(1, 2) + Rational(1, 3) == Rational(5, 6)
assert Rational(1, 2) != Rational(1, 3)
assert float(Rational(1, 4)) == 0.25
assert repr(Rational(6, 4)) == "3/2"
