# expect: runtime_error
def add(a, b):
    error = ValueError("first")
    for number in range(50_000):
        following = ValueError(number)
        following.__context__ = error
        error = following
    raise error
