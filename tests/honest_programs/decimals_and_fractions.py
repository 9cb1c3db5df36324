# entry: total
# names: total, share
# wrong: Fraction(part, whole) => Fraction(part, whole + 1)
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction


def total(prices):
    return sum(map(Decimal, prices)).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def share(part, whole):
    return Fraction(part, whole)
# ---- tests-file
from decimal import Decimal
from fractions import Fraction
assert total(["1.10", "2.25"]) == Decimal("3.35")
assert isinstance(total(["1"]), Decimal)
assert str(total(["1"])) == "1.00"
assert share(2, 4) == Fraction(1, 2)
assert share(1, 3) + Fraction(1, 6) == Fraction(1, 2)
assert share(1, 4) == 0.25
