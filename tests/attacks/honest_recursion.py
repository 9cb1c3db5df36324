# expect: passed
# tests: {"calls": {"entry": "depth", "cases": [{"args": [900], "expected": 900}]}}
def depth(number):
    return 0 if number == 0 else 1 + depth(number - 1)
