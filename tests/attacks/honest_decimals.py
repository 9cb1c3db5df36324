# expect: passed
# tests: {"calls": {"entry": "third", "cases": [{"args": ["1"], "expected": "0.3333333333333333333333333333"}]}}
from decimal import Decimal
from fractions import Fraction


def third(number):
    assert Fraction(number) / 3 == Fraction(1, 3)
    return str(Decimal(number) / 3)
