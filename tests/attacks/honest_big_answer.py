# expect: passed
# tests: {"calls": {"entry": "total", "cases": [{"args": [50000], "expected": 1250025000}]}}
def total(number):
    return sum(range(number + 1))
