# entry: curry
# wrong: len(args) >= arity => len(args) > arity
import inspect


def curry(f):
    arity = len(inspect.signature(f).parameters)

    def curried(*args):
        if len(args) >= arity:
            return f(*args)
        return lambda *more: curried(*args, *more)

    return curried
# ---- tests
add = curry(lambda a, b, c: a + b + c)
assert add(1)(2)(3) == 6
assert add(1, 2)(3) == 6
assert add(1)(2, 3) == 6
def named(x, y):
    return x - y
assert curry(named)(5)(3) == 2
