# expect: failed
# tests: {"calls": {"entry": "add", "cases": [{"args": [2, 3], "expected": 5}, {"args": [0, 1], "expected": 1}]}}
from fractions import Fraction


def add(a, b):
    return Fraction(a) + b
