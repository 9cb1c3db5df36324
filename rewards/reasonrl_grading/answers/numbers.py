"""Plain numbers: reading their exact value, and finding the last one of a text."""

import re
from fractions import Fraction
from typing import Final

MAX_NUMBER_LENGTH: Final = 200
"""Characters of a number."""

MAX_EXPONENT: Final = 300
"""Absolute value of the power of ten in scientific notation."""

_DIGITS = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3}){1,60}(?![0-9])|[0-9]+)"
_DECIMAL = re.compile(rf"(?P<digits>{_DIGITS}(?:\.[0-9]+)?|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]+))?")
_RATIO = re.compile(rf"(?P<top>{_DIGITS})\s*/\s*(?P<bottom>{_DIGITS})")
_FRAC = re.compile(r"\\[dt]?frac\s*\{\s*(?P<top>-?[0-9]+)\s*\}\s*\{\s*(?P<bottom>[0-9]+)\s*\}")
_SHORT_FRAC = re.compile(r"\\[dt]?frac\s*(?P<top>[0-9])\s*(?P<bottom>[0-9])")
_AROUND = re.compile(r"\$?(?P<sign>[+-]?)\$?(?P<size>\S|\S.*?\S)\s*(?:\.?\$?|\$\.)", re.DOTALL)
_SIGN = r"(?:(?<![\w)\]}%-])(?<![0-9)\]}] )(?P<sign>-))?\$?"
_NUMBER_IN_TEXT = re.compile(
    rf"{_SIGN}(?P<size>\\[dt]?frac\{{-?[0-9]+\}}\{{[0-9]+\}}"
    rf"|(?<!\w){_DIGITS}/{_DIGITS}(?!\.?[0-9])"
    rf"|(?<!\w){_DIGITS}(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{{1,3}}(?!\w))?"
    r"|(?<![\w.])\.[0-9]+)"
)


def last_number(text: str) -> str | None:
    """Return the last number of a text; a minus sign after an operand is a subtraction."""
    plain = re.sub(r"[ \t]+", " ", text.replace("\N{MINUS SIGN}", "-").replace(r"\$", "$"))
    found = list(_NUMBER_IN_TEXT.finditer(plain))
    return (found[-1]["sign"] or "") + found[-1]["size"] if found else None


def as_number(text: str) -> Fraction | None:
    r"""Return the exact value of a plain number, or None.

    Numbers are ``-7``, ``1,234.50``, ``3/4``, ``\frac{3}{4}`` and ``1.5e3``, with a dollar sign on either
    side or a full stop after it.
    """
    bare = text.strip().replace("\N{MINUS SIGN}", "-").replace(r"\$", "$").replace(r"\!", "")
    framed = _AROUND.fullmatch(bare) if len(bare) <= MAX_NUMBER_LENGTH else None
    if framed is None:
        return None
    size = _decimal(framed["size"]) if _DECIMAL.fullmatch(framed["size"]) else _ratio(framed["size"])
    return -size if size is not None and framed["sign"] == "-" else size


def _decimal(text: str) -> Fraction | None:
    parts = _DECIMAL.fullmatch(text)
    if parts is None or abs(exponent := int(parts["exponent"] or 0)) > MAX_EXPONENT:
        return None
    return Fraction(f"{parts['digits'].replace(',', '')}e{exponent}")


def _ratio(text: str) -> Fraction | None:
    parts = _RATIO.fullmatch(text) or _FRAC.fullmatch(text) or _SHORT_FRAC.fullmatch(text)
    if parts is None:
        return None
    top, bottom = (int(parts[name].replace(",", "")) for name in ("top", "bottom"))
    return Fraction(top, bottom) if bottom else None


def same_number(given: str, wanted: str) -> bool:
    """Whether both are plain numbers of exactly one value."""
    value = as_number(given)
    return value is not None and value == as_number(wanted)
