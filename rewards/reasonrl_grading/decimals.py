"""When a decimal, which has been rounded, stands for another number."""

from typing import Final

from flint import fmpq

from reasonrl_grading.nodes import Number
from reasonrl_grading.policy import Policy

FLOAT_DIGITS: Final = 15
"""Significant digits from which the last ones may be noise of floating-point arithmetic."""

MAX_CENTS: Final = 2
"""Decimal places up to which a decimal is taken for exact, as an amount of money is."""


def same_numbers(given: Number, wanted: Number, policy: Policy) -> bool:
    """Whether two numbers are equal, exactly or as a decimal stands for a number."""
    if given.value == wanted.value:
        return True
    if not (given.digits or wanted.digits):
        return False
    if policy.tolerance and within(given.value, wanted.value, policy.tolerance):
        return True
    if given.digits and wanted.digits:
        short, long = sorted((given, wanted), key=lambda number: number.digits)
        return short.digits > policy.decimal_digits > 0 and _stands_for_decimal(short, long)
    decimal, exact = (given, wanted) if given.digits else (wanted, given)
    return stands_for(decimal, exact.value, policy)


def within(value: fmpq, other: fmpq, tolerance: float) -> bool:
    """Whether two numbers differ by at most a fraction of the greater one."""
    return abs(value - other) <= fmpq(*tolerance.as_integer_ratio()) * max(abs(value), abs(other))


def stands_for(decimal: Number, exact: fmpq, policy: Policy) -> bool:
    """Whether a decimal is an exact number, rounded correctly or truncated to its digits.

    An integer and a number that itself has a short decimal can be written out, so no shorter decimal stands for them.
    """
    if not 0 < policy.decimal_digits <= decimal.digits:
        return False
    if _is_within_float_noise(decimal, exact):
        return True
    return not _is_short(exact, 2 * policy.decimal_digits) and _is_rounded(decimal, exact)


def _stands_for_decimal(short: Number, long: Number) -> bool:
    if _is_within_float_noise(short, long.value):
        return True
    return long.value.q != 1 and long.places > MAX_CENTS and _is_rounded(short, long.value)


def _is_within_float_noise(decimal: Number, exact: fmpq) -> bool:
    return decimal.digits >= FLOAT_DIGITS and abs(decimal.value - exact) <= 10 * _last_place(decimal)


def _is_rounded(decimal: Number, exact: fmpq) -> bool:
    unit, distance = _last_place(decimal), abs(decimal.value - exact)
    is_truncated = distance < unit and abs(decimal.value) <= abs(exact)
    return is_truncated or 2 * distance <= unit


def _last_place(decimal: Number) -> fmpq:
    return fmpq(10) ** -decimal.places


def _is_short(exact: fmpq, max_digits: int) -> bool:
    """Whether a number is an integer or a decimal of few significant digits."""
    if exact.q == 1:
        return True
    # a fraction in lowest terms whose denominator divides 10^n has at least n / 4 significant digits
    places = 4 * max_digits
    if 10**places % int(exact.q):
        return False
    return len(str(abs(int(exact.p)) * (10**places // int(exact.q))).rstrip("0")) <= max_digits
