# expect: runtime_error | failed
# tests: {"calls": {"entry": "add", "cases": [{"args": [2, 3], "expected": 5}, {"args": [1, 1], "expected": 2}]}}
import ctypes

calls = []


def add(a, b):
    calls.append(a)
    if len(calls) == 2:
        ctypes.string_at(0)
    return a + b
