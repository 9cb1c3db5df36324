# expect: failed | output_limit | timeout
# host: the judge is not kept busy
from fractions import Fraction


def add(a, b):
    return Fraction(3 ** 600_000, 2 ** 900_000)
