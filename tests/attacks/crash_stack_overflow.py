# expect: runtime_error | memory_limit | timeout
# limits: {"cpu_s": 1}
import sys

sys.setrecursionlimit(10**8)


class Deep:
    def __repr__(self):
        return f"{[self]!r}"


def add(a, b):
    return repr(Deep())
