r"""Read answers out of completions, for rewards and metrics alike.

What comes in is a model's text: nothing here raises on it, runs it as code, or takes more than time linear
in its length. Left out: units, percent signs, mixed numbers, and equality of symbolic expressions.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, NamedTuple, TypeAlias

from reasonrl.types import Problem, Rollout

Source: TypeAlias = Literal["answer_tag", "boxed", "hash", "last_number"]
r"""Where an answer may stand: ``<answer>x</answer>``, ``\boxed{x}``, ``#### x``, or the last number."""

MARKED: Final[tuple[Source, ...]] = ("answer_tag", "boxed", "hash")
"""The sources that a model must mark as its answer."""

MAX_NUMBER_LENGTH: Final = 200
"""Characters beyond which a text is not read as a number."""

MAX_EXPONENT: Final = 300
"""Greatest power of ten, in size, of a number in scientific notation."""

MAX_DEPTH: Final = 50
"""Deepest nesting of brackets and signs in an expression."""

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
_ANSWER_TAG = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL)
_HASH = re.compile(r"(?<!#)####(?!#)[ \t]*(\S[^\n]*)")
_BRACE = re.compile(r"(?P<box>\\boxed\s*\{)|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)
_CLAIMED_RESULT = re.compile(r"=\s*-?[0-9][0-9,.]*\s*$")
_SPELLED: Mapping[str, str] = {
    "\N{MULTIPLICATION SIGN}": "*",
    "\N{DIVISION SIGN}": "/",
    "\N{MINUS SIGN}": "-",
    r"\times": "*",
    r"\cdot": "*",
    r"\div": "/",
}


def read_answer(rollout: Rollout, sources: Sequence[Source] = MARKED) -> str | None:
    """Return the answer of a completion; thinking that the template opened counts as thinking."""
    return extract_answer(with_opening_tag(rollout), sources)


def with_opening_tag(rollout: Rollout) -> str:
    """Return the completion, after the ``<think>`` that the template put at the end of the prompt, if any."""
    return "<think>" + rollout.text if rollout.prompt.rstrip().endswith("<think>") else rollout.text


def extract_answer(text: str, sources: Sequence[Source] = MARKED) -> str | None:
    """Return the last answer outside thinking from the first source that has one, or None.

    Args:
        text: a completion.
        sources: where to look, in this order.
    """
    shown = outside_thinking(text)
    found = (_READERS[source](shown) for source in sources)
    return next((answer for answer in found if answer), None)


def outside_thinking(text: str) -> str:
    """Return the text without its thinking.

    ``<think>`` hides what follows up to ``</think>``, or up to the end. A ``</think>`` that nothing opened
    hides all that stands before it, because the template opened the thinking.
    """
    shown: list[str] = []
    thinking = False
    for part in re.split(r"(</?think>)", text):
        if part == "</think>" and not thinking:
            shown.clear()
        if part in ("<think>", "</think>"):
            thinking = part == "<think>"
        elif not thinking:
            shown.append(part)
    return "\n".join(shown)


def _in_answer_tag(text: str) -> str | None:
    """Return what the last complete answer tag holds."""
    found = _ANSWER_TAG.findall(text)
    return _unboxed(found[-1].strip()) if found else None


def _in_box(text: str) -> str | None:
    """Return what the last box to close holds, so an outer box and not the one inside it."""
    box = _last_box(text)
    return _unboxed(text[box.content : box.end].strip()) if box else None


def _unboxed(answer: str) -> str:
    """Take away a box around the whole answer."""
    box = _last_box(answer)
    is_whole = box is not None and box.start == 0 and box.end == len(answer) - 1
    return answer[box.content : box.end].strip() if box and is_whole else answer


class _Box(NamedTuple):
    """Positions of a box: its command, its content, and its closing brace."""

    start: int
    content: int
    end: int


def _last_box(text: str) -> _Box | None:
    r"""Return the last ``\boxed{...}`` to close; braces must balance."""
    opened: list[re.Match[str]] = []
    last: _Box | None = None
    for brace in _BRACE.finditer(text):
        if brace.lastgroup in ("box", "open"):
            opened.append(brace)
        elif brace.lastgroup == "close" and opened and (start := opened.pop()).lastgroup == "box":
            last = _Box(start.start(), start.end(), brace.start())
    return last


def _after_hash(text: str) -> str | None:
    """Return the rest of the line after the last ``####``."""
    found = _HASH.findall(text)
    return found[-1].strip() if found else None


def _last_number(text: str) -> str | None:
    """Return the last number of a text; a minus sign after an operand is a subtraction."""
    plain = re.sub(r"[ \t]+", " ", text.replace("\N{MINUS SIGN}", "-").replace(r"\$", "$"))
    found = list(_NUMBER_IN_TEXT.finditer(plain))
    return (found[-1]["sign"] or "") + found[-1]["size"] if found else None


_READERS: Mapping[Source, Callable[[str], str | None]] = {
    "answer_tag": _in_answer_tag,
    "boxed": _in_box,
    "hash": _after_hash,
    "last_number": _last_number,
}


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
    """Return the value of an unsigned decimal whose exponent is within bounds."""
    parts = _DECIMAL.fullmatch(text)
    if parts is None or abs(exponent := int(parts["exponent"] or 0)) > MAX_EXPONENT:
        return None
    return Fraction(f"{parts['digits'].replace(',', '')}e{exponent}")


def _ratio(text: str) -> Fraction | None:
    """Return the value of an unsigned fraction whose denominator is not 0."""
    parts = _RATIO.fullmatch(text) or _FRAC.fullmatch(text) or _SHORT_FRAC.fullmatch(text)
    if parts is None:
        return None
    top, bottom = (int(parts[name].replace(",", "")) for name in ("top", "bottom"))
    return Fraction(top, bottom) if bottom else None


def same_number(given: str, wanted: str) -> bool:
    """Whether both are plain numbers of exactly one value."""
    value = as_number(given)
    return value is not None and value == as_number(wanted)


def evaluate_expression(text: str, max_length: int = 200) -> tuple[Fraction, list[int]] | None:
    r"""Return the value of an arithmetic expression and the whole numbers it uses, or None.

    Read are ``+ - * / ( )``, the signs of print and LaTeX for them (``\times``, ``\cdot``, ``\div``), and a
    minus sign before an operand. A result claimed at the end (``= 24``) is cut off and not believed.

    Args:
        text: perhaps an expression.
        max_length: characters beyond which a text is not read.
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
        """Keep the tokens in reverse, so that the next one is the last."""
        self._rest = list(reversed(tokens))
        self.numbers: list[int] = []

    def whole(self) -> Fraction:
        """Read all tokens as one expression."""
        value = self._total(0)
        if self._rest:
            raise _NotAnExpressionError
        return value

    def _take(self, *wanted: str) -> str | None:
        """Take the next token if it is one of these."""
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
        """Read a number, a bracket or a negated factor."""
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
        """Read a whole number and remember it."""
        token = self._rest.pop() if self._rest else ""
        if not (token.isascii() and token.isdigit() and len(token) <= MAX_NUMBER_LENGTH):
            raise _NotAnExpressionError
        self.numbers.append(int(token))
        return Fraction(self.numbers[-1])


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is right, and why; true or false where a bool is asked for."""

    right: bool
    why: str

    def __bool__(self) -> bool:
        """Return whether the answer is right."""
        return self.right


def countdown_numbers(problem: Problem) -> tuple[list[int], int] | None:
    """Return the given numbers and the target of a Countdown problem, or None if it is not one.

    The numbers stand in ``meta["numbers"]``, the target is the answer.
    """
    numbers = problem.meta.get("numbers")
    target = as_number(problem.answer)
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        return None
    return (numbers, target.numerator) if target is not None and target.denominator == 1 else None


def solves_countdown(expression: str, numbers: Sequence[int], target: int) -> Verdict:
    """Whether an expression has the target as its value and uses each given number exactly once."""
    result = evaluate_expression(expression)
    if result is None:
        return Verdict(False, f"{expression[:80]!r} is not an arithmetic expression")
    value, used = result
    if sorted(used) != sorted(numbers):
        return Verdict(False, f"uses {sorted(used)}, given were {sorted(numbers)}")
    if value != target:
        return Verdict(False, f"{expression[:80]!r} is {value}, not {target}")
    return Verdict(True, f"{expression[:80]!r} is {target}")
