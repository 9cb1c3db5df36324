# expect: failed
# tests: {"calls": {"entry": "sign", "cases": [{"args": [7], "expected": 1}, {"args": [0], "expected": 0}]}}
def sign(number):
    return number > 0
