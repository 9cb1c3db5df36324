# expect: failed
# tests: {"calls": {"entry": "add", "cases": [{"args": [1.5, 2.0], "expected": 3.5}, {"args": [0.0, 1.0], "expected": 1.0}], "abs_tol": 1e-06}}
from decimal import Decimal


def add(a, b):
    return Decimal(a) + Decimal(b)
