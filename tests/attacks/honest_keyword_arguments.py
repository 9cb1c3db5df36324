# expect: passed
# tests: {"calls": {"entry": "scale", "cases": [{"args": [3], "kwargs": {"by": 4}, "expected": 12}, {"args": [3], "expected": 6}]}}
def scale(number, *, by=2):
    return number * by
