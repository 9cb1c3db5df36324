# expect: passed
# tests: {"calls": {"entry": "middle", "cases": [{"args": [100000], "expected": 50000}]}}
import random


def middle(count):
    numbers = list(range(count))
    random.Random(7).shuffle(numbers)
    return sorted(numbers, key=lambda number: (number % 1, number))[count // 2]
