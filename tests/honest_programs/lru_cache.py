# entry: fib
# wrong: fib(n - 2) => fib(n - 3)
from functools import lru_cache


@lru_cache(maxsize=None)
def fib(n):
    """Return the n-th Fibonacci number."""
    return n if n < 2 else fib(n - 1) + fib(n - 2) if n > 2 else 1
# ---- tests
assert fib(10) == 55
assert fib.cache_info().currsize > 0
assert fib.cache_info().misses == 11 or fib.cache_info().misses == 10
fib.cache_clear()
assert fib.cache_info().currsize == 0
assert fib.__wrapped__(2) == 1
assert fib.__name__ == "fib"
assert fib.__doc__.startswith("Return")
