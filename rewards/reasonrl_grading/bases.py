"""Numbers with the base that they are written in: ``1011_2``, ``4F_{16}``, ``52 base 8``."""

import re

from flint import fmpq

from reasonrl_grading.nodes import BasedNumber, Node, Number

_BASED = re.compile(r"(-?)([0-9][0-9A-Za-z]*|[A-Z][0-9A-Z]+)\s*(?:_\s*|\s(?:in\s+)?base[ -])([0-9]{1,2}|[a-z]+)")
_NO_DIGIT = re.compile(r"\\(?:text|mathrm)(?=\s*\{)|[(){}]")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "twelve": 12, "sixteen": 16, "hex": 16, "bin": 2, "oct": 8}  # fmt: skip


def read_based(text: str) -> Node | None:
    """Return the number in a base that a text is, or None; one in base ten is a plain number."""
    if ("_" not in text and "base" not in text) or text.count("(") != text.count(")"):
        return None
    based = _BASED.fullmatch(_NO_DIGIT.sub("", text).strip())
    return None if based is None else _in_base(based[1], based[2], based[3])


def _in_base(sign: str, digits: str, base: str) -> Node | None:
    """Return a number in a base, or None where the digits do not fit the base."""
    size = int(base) if base.isdigit() else _BASES.get(base, 0)
    if not 2 <= size <= 36 or any(int(digit, 36) >= size for digit in digits):
        return None
    if size == 10:
        return Number(fmpq(int(sign + digits)))
    return BasedNumber(sign + (digits.upper().lstrip("0") or "0"), size)
