# expect: passed
# tests: {"calls": {"entry": "size", "cases": [{"args": [900], "expected": 921600}]}}
def size(kib):
    text = "x" * 1023
    for _ in range(kib):
        print(text)
    return kib * 1024
