# expect: failed
# tests: {"calls": {"entry": "one", "cases": [{"args": [], "expected": 1}], "abs_tol": 1e-06, "rel_tol": 1e-06}}
def one():
    return True
