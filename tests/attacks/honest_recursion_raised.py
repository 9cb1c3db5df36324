# expect: passed
# tests: {"calls": {"entry": "depth", "cases": [{"args": [9000], "expected": 9000}]}}
import sys

sys.setrecursionlimit(20_000)


def depth(number):
    return 0 if number == 0 else 1 + depth(number - 1)
