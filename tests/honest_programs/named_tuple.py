# entry: divide
# names: divide, Result
# wrong: Result(a // b, a % b) => Result(a % b, a // b)
from collections import namedtuple

Result = namedtuple("Result", "quotient remainder")


def divide(a, b):
    return Result(a // b, a % b)
# ---- tests
r = divide(7, 2)
assert r.quotient == 3
assert r == (3, 1)
assert r == Result(3, 1)
assert r._asdict() == {"quotient": 3, "remainder": 1}
assert r._replace(remainder=0) == (3, 0)
q, m = r
assert (q, m) == (3, 1)
assert r[0] == 3 and len(r) == 2
assert isinstance(r, tuple)
assert isinstance(r, Result)
assert Result._fields == ("quotient", "remainder")
assert repr(r) == "Result(quotient=3, remainder=1)"
