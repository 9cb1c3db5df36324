# expect: passed
# tests: {"calls": {"entry": "verdict", "cases": [{"args": [true], "expected": "passed"}, {"args": [false], "expected": "sandbox_error"}]}}
def verdict(right):
    return "passed" if right else "sandbox_error"
