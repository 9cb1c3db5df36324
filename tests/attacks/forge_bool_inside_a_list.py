# expect: failed
# tests: {"calls": {"entry": "bits", "cases": [{"args": [2], "expected": [1, 0]}, {"args": [3], "expected": [1, 1]}]}}
def bits(number):
    return [bool(number & 2), bool(number & 1)]
