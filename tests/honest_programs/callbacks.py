# entry: pipeline
# names: pipeline, apply_twice, compose
# wrong: value = step(value) => value = step(step(value))
def pipeline(value, *steps):
    for step in steps:
        value = step(value)
    return value


def apply_twice(f, x):
    return f(f(x))


def compose(f, g):
    return lambda x: f(g(x))
# ---- tests-file
import operator
from functools import partial
def add_one(x):
    return x + 1
assert pipeline(1, add_one, lambda x: x * 10, str) == "20"
assert apply_twice(add_one, 5) == 7
assert apply_twice(lambda s: s + "!", "hi") == "hi!!"
assert compose(add_one, abs)(-3) == 4
assert compose(len, str.strip)(" ab ") == 2
assert pipeline(3, partial(operator.mul, 2)) == 6
assert pipeline([3, 1, 2], sorted, list) == [1, 2, 3]
