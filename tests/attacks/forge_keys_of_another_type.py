# expect: failed
# tests: {"calls": {"entry": "count", "cases": [{"args": ["aa"], "expected": {"2": ["a"]}}, {"args": ["b"], "expected": {"1": ["b"]}}]}}
def count(text):
    return {len(text): [text[0]]}
