# expect: failed
# tests: {"calls": {"entry": "shout", "cases": [{"args": ["a"], "expected": "A"}, {"args": ["b"], "expected": "B"}]}}
def shout(text):
    return text.upper().encode()
