# expect: failed | output_limit | timeout
# host: the judge is not kept busy
from decimal import Decimal


def add(a, b):
    return [Decimal("1e999999999999999999"), Decimal("-1e-999999999999999999"), Decimal("9" * 400_000)]
