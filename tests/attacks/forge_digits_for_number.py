# expect: failed
# tests: {"calls": {"entry": "add", "cases": [{"args": [2, 3], "expected": 5}, {"args": [0, 1], "expected": 1}], "abs_tol": 1e-06}}
def add(a, b):
    return str(a + b)
