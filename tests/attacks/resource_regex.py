# expect: timeout
# limits: {"cpu_s": 0.5}
import re


def add(a, b):
    return a + b if re.match(r"(a+)+$", "a" * 28 + "b") is None else 0
