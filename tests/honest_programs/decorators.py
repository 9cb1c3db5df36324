# entry: memoize
# names: memoize, repeat, log_calls
# wrong: [f(*args) for _ in range(times)] => [f(*args)]
import functools


def memoize(f):
    cache = {}

    @functools.wraps(f)
    def wrapper(*args):
        if args not in cache:
            cache[args] = f(*args)
        return cache[args]

    wrapper.cache = cache
    return wrapper


def repeat(times):
    def decorate(f):
        @functools.wraps(f)
        def wrapper(*args):
            return [f(*args) for _ in range(times)]

        return wrapper

    return decorate


def log_calls(f):
    @functools.wraps(f)
    def wrapper(*args, **kwargs):
        wrapper.calls += 1
        return f(*args, **kwargs)

    wrapper.calls = 0
    return wrapper
# ---- tests-file
calls = []
@memoize
def square(x):
    """Return the square."""
    calls.append(x)
    return x * x
assert square(3) == 9 and square(3) == 9
assert calls == [3]
assert square.__name__ == "square"
assert square.__doc__ == "Return the square."
assert square.__wrapped__(4) == 16
assert square.cache == {(3,): 9}
@repeat(3)
def greet(name):
    return "hi " + name
assert greet("a") == ["hi a"] * 3
@log_calls
def f(a, b=2):
    return a + b
assert f(1) == 3 and f(1, b=5) == 6
assert f.calls == 2
