"""Arithmetic expressions, parsed by a grammar and never run as code."""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

from reasonrl_grading.answers.numbers import MAX_NUMBER_LENGTH

MAX_DEPTH: Final = 50
"""Nesting of brackets and signs in an expression."""

_WHOLE = re.compile(r"0|[1-9][0-9]*")
_CLAIMED_RESULT = re.compile(r"=\s*-?[0-9][0-9,.]*\s*$")
_SPELLED: Mapping[str, str] = {
    "\N{MULTIPLICATION SIGN}": "*",
    "\N{DIVISION SIGN}": "/",
    "\N{MINUS SIGN}": "-",
    r"\times": "*",
    r"\cdot": "*",
    r"\div": "/",
}


def evaluate_expression(text: str, max_length: int = 200) -> tuple[Fraction, list[int]] | None:
    r"""Return the value of an arithmetic expression and the whole numbers it uses, or None.

    Accepted are ``+ - * / ( )``, their Unicode and LaTeX signs (``\times``, ``\cdot``, ``\div``) and a minus before
    an operand; 007 is not a number. A result claimed at the end (``= 24``) is cut off and ignored.

    Args:
        text: perhaps an expression.
        max_length: characters of a text that is read.
    """
    if len(text) > max_length:
        return None
    for spelled, sign in _SPELLED.items():
        text = text.replace(spelled, sign)
    tokens = re.findall(r"[0-9]+|\S", _CLAIMED_RESULT.sub("", text.strip().strip("$")))
    parser = _Parser(tokens)
    try:
        return parser.whole(), parser.numbers
    except (_NotAnExpressionError, ZeroDivisionError):
        return None


class _NotAnExpressionError(Exception):
    """The tokens do not follow the grammar."""


class _Parser:
    """Recursive descent over tokens: a total of products of factors."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._rest = list(reversed(tokens))  # the next token is the last
        self.numbers: list[int] = []

    def whole(self) -> Fraction:
        value = self._total(0)
        if self._rest:
            raise _NotAnExpressionError
        return value

    def _take(self, *wanted: str) -> str | None:
        return self._rest.pop() if self._rest and self._rest[-1] in wanted else None

    def _total(self, depth: int) -> Fraction:
        """Read ``product (+|-) product ...``."""
        value = self._product(depth)
        while sign := self._take("+", "-"):
            right = self._product(depth)
            value = value + right if sign == "+" else value - right
        return value

    def _product(self, depth: int) -> Fraction:
        """Read ``factor (*|/) factor ...``."""
        value = self._factor(depth)
        while sign := self._take("*", "/"):
            right = self._factor(depth)
            value = value * right if sign == "*" else value / right
        return value

    def _factor(self, depth: int) -> Fraction:
        if depth > MAX_DEPTH:
            raise _NotAnExpressionError
        if self._take("-"):
            return -self._factor(depth + 1)
        if not self._take("("):
            return self._number()
        value = self._total(depth + 1)
        if not self._take(")"):
            raise _NotAnExpressionError
        return value

    def _number(self) -> Fraction:
        token = self._rest.pop() if self._rest else ""
        if not _WHOLE.fullmatch(token) or len(token) > MAX_NUMBER_LENGTH:
            raise _NotAnExpressionError
        self.numbers.append(int(token))
        return Fraction(self.numbers[-1])
