# expect: failed
# tests: {"calls": {"entry": "half", "cases": [{"args": [3], "expected": 1.5}, {"args": [1], "expected": 0.5}]}}
def half(number):
    return float("inf")
