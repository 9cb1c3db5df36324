# expect: runtime_error | memory_limit | timeout
# limits: {"memory_mib": 192, "cpu_s": 1}
import sys

sys.setrecursionlimit(2**31 - 1)


def add(a, b):
    return add(a, b) + 0
