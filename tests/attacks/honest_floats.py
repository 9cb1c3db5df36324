# expect: passed
# tests: {"calls": {"entry": "half", "cases": [{"args": [3], "expected": 1.5}, {"args": [4], "expected": 2.0}]}}
def half(number):
    return number / 2
