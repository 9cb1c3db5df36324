# expect: failed
# tests: {"calls": {"entry": "size", "cases": [{"args": ["ab"], "expected": {"n": 2}}, {"args": ["c"], "expected": {"n": 1}}]}}
def size(text):
    return {'n': float(len(text))}
