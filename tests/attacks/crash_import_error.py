# expect: runtime_error
import surely_not_a_module


def add(a, b):
    return a + b
