r"""Read plain numbers exactly, which decides most pairs.

These are integers with or without thousands separators, decimals, repeating decimals, ``a/b``, ``\frac{a}{b}``,
mixed numbers and scientific notation, with a sign.
"""

import re
from typing import Final

from flint import fmpq

from reasonrl_grading.nodes import Number

MAX_LENGTH: Final = 400
"""Characters of a number."""

MAX_EXPONENT: Final = 4000
"""Absolute value of a power of ten."""

_DIGITS = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])|[1-9][0-9]{0,2}(?: [0-9]{3})+(?![0-9])|[0-9]+)"
_BRACED = r"(?:\{{\s*(?P<{0}>[0-9]+)\s*\}}|\s*(?P<{0}_one>[0-9]))"
_NUMBER = re.compile(
    rf"(?P<minus>[+-]?)\s*(?:"
    rf"(?P<whole>{_DIGITS})?"
    r"(?:\.(?P<decimals>[0-9]*)(?:\\(?:overline|bar|dot)\s*\{?(?P<repeat>[0-9]{1,40})\}?|(?P<dots>\.\.\.+|\\[lc]?dots))?)?"
    r"(?:[eE](?P<power>[+-]?[0-9]{1,5})"
    r"|\s*(?:\*|\\times|\\cdot|x(?= ?10 ?\^))\s*10\s*(?:\^|\*\*)\s*(?:\{\s*(?P<ten_braced>[+-]?[0-9]{1,5})\s*\}"
    r"|\(\s*(?P<ten_round>[+-]?[0-9]{1,5})\s*\)|(?P<ten>[+-]?[0-9]{1,5})))?"
    rf"|(?P<mixed>[0-9]+)?\s*\\[dtc]?frac\s*{_BRACED.format('top')}{_BRACED.format('bottom')}"
    rf"|(?:(?P<mixed_plain>[0-9]+)\s+(?:and\s+)?)?(?P<top_plain>{_DIGITS})\s*/\s*(?P<bottom_plain>{_DIGITS})"
    r")"
)


_BEGINS = frozenset("+-.0123456789\\")
_ENDS = frozenset(".0123456789})s")


def read_number(text: str) -> Number | None:
    """Return the number that all of a cleaned text is, or None."""
    if text.isascii() and text.isdigit() and len(text) <= MAX_LENGTH:
        return Number(fmpq(int(text)))
    if not text or len(text) > MAX_LENGTH or text[0] not in _BEGINS or text[-1] not in _ENDS:
        return None
    parts = _NUMBER.fullmatch(text)
    if parts is None:
        return None
    if parts["top_plain"]:
        number = _fraction(parts["mixed_plain"], parts["top_plain"], parts["bottom_plain"])
    elif parts["bottom"] or parts["bottom_one"]:
        number = _fraction(parts["mixed"], parts["top"] or parts["top_one"], parts["bottom"] or parts["bottom_one"])
    else:
        number = _decimal(parts)
    if number is None or parts["minus"] != "-":
        return number
    return Number(-number.value, number.digits, number.places)


def _integer(digits: str) -> int:
    return int(digits.replace(",", "").replace(" ", ""))


def _fraction(whole: str | None, top: str, bottom: str) -> Number | None:
    """Return the value of a fraction or of a mixed number, whose fraction must be below 1."""
    over, under = _integer(top), _integer(bottom)
    if not under or (whole and over >= under):
        return None
    return Number(fmpq(over, under) + int(whole or 0))


def _decimal(parts: re.Match[str]) -> Number | None:
    whole = (parts["whole"] or "").replace(",", "").replace(" ", "")
    decimals = parts["decimals"] or ""
    if not (whole or decimals or parts["repeat"]):
        return None
    exponent = int(parts["power"] or parts["ten"] or parts["ten_braced"] or parts["ten_round"] or 0)
    if abs(exponent) > MAX_EXPONENT:
        return None
    repeat = _repeating_end(decimals) if parts["dots"] else parts["repeat"] or ""
    if repeat is None:
        return None
    value = fmpq(int(whole + decimals or "0"), 10 ** len(decimals))
    if repeat:
        return Number(value + fmpq(int(repeat), (10 ** len(repeat) - 1) * 10 ** len(decimals)))
    if exponent:
        value *= fmpq(10) ** exponent
    if not decimals:
        return Number(value)
    return Number(value, len((whole + decimals).lstrip("0")), len(decimals) - exponent)


def _repeating_end(decimals: str) -> str | None:
    """Return the digits that repeat at the end of a decimal that goes on with dots, or None."""
    for length in (1, 2, 3, 6):
        block = decimals[-length:]
        if len(decimals) >= max(3, 2 * length) and decimals.endswith(block * max(2, 3 // length)):
            return block
    return None
