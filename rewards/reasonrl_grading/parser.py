r"""Parse a whole answer: frequent forms, numbers in a base, times, choice letters, spelled numbers, text."""

import re
from collections.abc import Callable

from flint import fmpq

from reasonrl_grading.bases import read_based
from reasonrl_grading.clock import read_clock
from reasonrl_grading.expression import parse_expression
from reasonrl_grading.items import is_plain, parse_range
from reasonrl_grading.layout import clean
from reasonrl_grading.nodes import Choice, Node, Number, ParseError, Quantity, Relation, Symbol, Words
from reasonrl_grading.numbers import read_number
from reasonrl_grading.source import WORD_KINDS, tokenized
from reasonrl_grading.spelled import ordinal, spelled_number, with_part_as_fraction
from reasonrl_grading.tokens import Token
from reasonrl_grading.units import PERCENT, read_unit
from reasonrl_grading.words import plain_words

_CHOICE = re.compile(
    r"(?:(?:option|choice|answer)\s+)?(?:\\(?:text|math)(?:bf|rm|it|sf)?\s*\{\s*|\*\*)?"
    r"(?:\(([A-Z])\)|([A-Z])(?:\)|(?=(?:\*\*)?[.:][\s}*])))\s*(?:[.:](?!\d))?\s*(?:\}|\*\*)?\s*(?:[.:](?!\d))?\s*(.*)",
    re.DOTALL | re.IGNORECASE,
)
_SECOND_CHOICE = re.compile(r"\([A-Z]\)|\bor\b")
_LABEL = re.compile(r"(?:\\text\s*\{)?\s*([A-Z][a-z]{2,}(?: [A-Za-z]+){0,4}):\s*(?:\}\s*|\s)(\S.*)", re.DOTALL)
_NO_LABEL_NAMES = (
    "not no never none neither nor wrong incorrect false true yes maybe except but or and if unless than at about "
    "least most more less over under to"
)
_NO_LABELS = frozenset(_NO_LABEL_NAMES.split())
_LABEL_END = re.compile(r"[()]|[.:][\s}*]")
_LOOSE_DASH = re.compile(r"^-|-$|--")
_NAMED_CHOICE = re.compile(r"(?:option|choice|answer)\s+\(?([A-Z])\)?", re.IGNORECASE)
_ASSIGNED = re.compile(r"([a-df-hj-zA-Z])\s*=\s*")
_OPERATOR = re.compile(r"[0-9a-zA-Z)}]\s*[\^+*/=_]|[a-zA-Z]-[0-9]|[0-9]-[a-zA-Z]")
_WORDY = re.compile(r"[^\W\d_]{2,}")


def parse(text: str) -> Node | None:
    """Return the parse tree of a cleaned answer, or None where it is neither math nor text."""
    return _parse(text, lambda labelled: _choice_letter(labelled) or _named_value(labelled))


def _parse(text: str, read_label: Callable[[str], Node | None]) -> Node | None:
    number = read_number(text)
    if number is not None:
        return number
    if not text:
        return None
    if " and " in text:
        text = with_part_as_fraction(text)
    try:
        return read_clock(text) or _frequent_form(text) or read_based(text) or read_label(text) or _parse_tokens(text)
    except ParseError:
        return _formula(text) or (Words(plain_words(text)) if is_text(text) else None)


def _frequent_form(text: str) -> Node | None:
    """Parse ``x = 5`` and ``50%``, which are frequent, without tokens."""
    if text[-1] == "%":
        number = read_number(text[:-1].rstrip())
        return None if number is None else Quantity(number, PERCENT)
    assignment = _ASSIGNED.match(text)
    number = None if assignment is None else read_number(text[assignment.end() :])
    return None if assignment is None or number is None else Relation((Symbol(assignment[1]), number), ("=",))


def _formula(text: str) -> Node | None:
    """Parse a text with operators again, with short words as products of letters."""
    if not _OPERATOR.search(text) or "text" in text:
        return None
    try:
        return _parse_tokens(text, is_formula=True)
    except ParseError:
        return None


def is_text(text: str) -> bool:
    """Whether an answer that cannot be parsed is text: it has words, but neither LaTeX commands nor relation signs."""
    bare = re.sub(r"\\(?:text|mathrm|textbf|mbox)[a-z]*\s*\{", " ", text)
    if re.search(r"\\[a-zA-Z]+|[\^=<>]", bare):
        return False
    return _WORDY.search(bare) is not None


def _choice_letter(text: str) -> Node | None:
    """Parse a choice letter, alone or with what it stands for."""
    named = _NAMED_CHOICE.fullmatch(text)
    if named is not None:
        return Symbol(named[1].upper())
    if _LABEL_END.search(text):
        choice = _CHOICE.fullmatch(text)
        if choice is not None and (choice[1] or choice[2]).isupper():
            return _choice(choice[1] or choice[2], choice[3])
    return None


def _named_value(text: str) -> Node | None:
    """Parse ``Area: 5``, a value after what it is called, as ``Area = 5``."""
    label = _LABEL.fullmatch(text)
    if label is None or not _NO_LABELS.isdisjoint(label[1].lower().split()):
        return None
    node = _parse(clean(label[2]), lambda _: None)
    return None if node is None or isinstance(node, Words) else Relation((Words(plain_words(label[1])), node), ("=",))


def _choice(letter: str, content: str) -> Node | None:
    if not content.strip():
        return Symbol(letter)
    if _SECOND_CHOICE.search(content):
        return Words(plain_words(f"({letter}) {content}"))
    node = _parse(clean(content), lambda _: None)
    return None if node is None else Choice(letter, node)


def _parse_tokens(text: str, is_formula: bool = False) -> Node:
    source = tokenized(text, is_formula)
    tokens = source.tokens
    if all(token.kind in WORD_KINDS or token.text in {"-", "$"} for token in tokens):
        return _spelled_out(tokens, text)
    if is_plain(source):
        return parse_expression(source, 0, len(tokens), 0, parse_range)
    return parse_range(source, 0, len(tokens), 0)


def _spelled_out(tokens: list[Token], text: str) -> Node:
    """Parse an answer of words: a spelled number with what it counts, or text."""
    plain = plain_words(" ".join(token.text for token in tokens)).lower()
    words = re.findall(r"[^\W\d_]+", plain)
    spelled = None if _LOOSE_DASH.search(plain) or "$" in text else spelled_number(words)
    if spelled is None:
        place = ordinal(words[0]) if len(words) == 1 else None
        named = plain_words(text)
        if len(tokens) == 1 and len(named) == 1 and named.isalpha():
            return Symbol(named)
        return Words(named) if place is None else Number(fmpq(place))
    value, taken = spelled
    if taken == len(words):
        return Number(value)
    unit = read_unit(" ".join(words[taken:]), abs(value) <= 1)
    return Words(plain_words(text)) if unit is None else Quantity(Number(value), unit)
