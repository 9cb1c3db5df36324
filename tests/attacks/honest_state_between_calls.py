# expect: passed
# tests: {"calls": {"entry": "fibonacci", "cases": [{"args": [30], "expected": 832040}, {"args": [50], "expected": 12586269025}]}}
import functools


@functools.lru_cache(None)
def fibonacci(number):
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)
