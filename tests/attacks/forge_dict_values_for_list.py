# expect: failed
# tests: {"calls": {"entry": "first", "cases": [{"args": [3], "expected": [0, 1, 2]}, {"args": [1], "expected": [0]}]}}
def first(number):
    return dict(enumerate(range(number))).values()
