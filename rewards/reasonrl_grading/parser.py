r"""Parse a whole answer: lists, relations, sets, brackets, quantities, ratios, text.

An answer is split from the outside in, at signs that are in no bracket: items, sides of a relation, joined sets,
then a value with its unit, and last an expression.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from flint import fmpq

from reasonrl_grading.expression import MAX_DEPTH, TokenizedText, parse_expression
from reasonrl_grading.nodes import (
    BasedNumber,
    Call,
    Choice,
    Collection,
    Node,
    Number,
    ParseError,
    Product,
    Quantity,
    Ratio,
    Relation,
    SetExpression,
    Sum,
    Symbol,
    Words,
    negated,
    quotient,
)
from reasonrl_grading.normalize import flat
from reasonrl_grading.numbers import read_number
from reasonrl_grading.tokens import Token, tokenize
from reasonrl_grading.units import PERCENT, Unit, named_unit, read_unit
from reasonrl_grading.words import CLOCK, SCALES, ordinal, plain_words, spelled_number

MAX_TOKENS: Final = 1500
"""Tokens beyond which an answer is not parsed."""

MAX_ITEMS: Final = 200
"""Items of one list."""

MAX_SCALE: Final = 10**30
"""Greatest product of words such as million."""

_RELATION_SIGNS = "= < > <= >= != in approx equiv sim notin cong perp parallel"
RELATIONS = frozenset(_RELATION_SIGNS.split())
SEPARATORS = frozenset({",", ";", "or", "and", "implies"})
CONJUNCTIONS = frozenset({"or", "and"})
SET_SIGNS = frozenset({"cup", "cap", "setminus"})
STACKING = frozenset({"over", "choose"})
RATIO_SIGNS = frozenset({":", "to"})
"""What an answer is split at, from the outside in."""

SIGN_KINDS = frozenset({"sign", "command"})
WORD_KINDS = frozenset({"word", "text"})
RATIO_KINDS = frozenset({"sign", "word"})
"""The token kinds of those signs."""

_STRUCTURE = RELATIONS | SEPARATORS | SET_SIGNS | STACKING | RATIO_SIGNS | frozenset("°%$€£¢")
_OPENING = {"(": (")", "]"), "[": (")", "]"), "{": ("}",), "\\{": ("\\}",)}
_TRIGONOMETRY = frozenset({"sin", "cos", "tan", "cot", "sec", "csc", "cis", "int", "lim"})
_CURRENCY = frozenset({"$", "€", "£", "USD", "EUR", "GBP"})
_BASED = re.compile(r"(-?)([0-9][0-9A-Za-z]*|[A-Z][0-9A-Z]+)\s*(?:_\s*|\s(?:in\s+)?base[ -])([0-9]{1,2}|[a-z]+)")
_NO_DIGIT = re.compile(r"\\(?:text|mathrm)(?=\s*\{)|[(){}]")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "twelve": 12, "sixteen": 16, "hex": 16, "bin": 2, "oct": 8}  # fmt: skip
_CHOICE = re.compile(
    r"(?:(?:option|choice|answer)\s+)?(?:\\text(?:bf|rm|it)?\s*\{\s*)?(?:\(([A-Z])\)|([A-Z])(?:\)|(?=[.:]\s)))\s*\}?"
    r"\s*[.:]?\s*(.*)",
    re.DOTALL | re.IGNORECASE,
)
_NAMED_CHOICE = re.compile(r"(?:option|choice|answer)\s+\(?([A-Z])\)?", re.IGNORECASE)
_ASSIGNED = re.compile(r"([a-df-hj-zA-Z])\s*=\s*")
_LETTER_U_UNION = re.compile(r"[)\]}]\s*U\s*[(\[\\{]")
_OPERATOR = re.compile(r"[0-9a-zA-Z)}]\s*[\^+*/=_]|[a-zA-Z]-[0-9]|[0-9]-[a-zA-Z]")
_WORDY = re.compile(r"[^\W\d_]{2,}")
_INTEGERS = re.compile(r"integer|setZ|setN|natural|whole")


def parse(text: str) -> Node | None:
    """Return the parse tree of a cleaned answer, or None where it is neither math nor text."""
    number = read_number(text)
    if number is not None:
        return number
    if not text:
        return None
    try:
        return _frequent_form(text) or _based_or_choice(text) or _parse_tokens(text)
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


def _based_or_choice(text: str) -> Node | None:
    """Parse what needs no tokens: a number in a base, a time of day, a choice letter."""
    if "_" in text or "base" in text:
        is_balanced = text.count("(") == text.count(")")
        based = _BASED.fullmatch(_NO_DIGIT.sub("", text).strip()) if is_balanced else None
        if based is not None:
            return _in_base(based[1], based[2], based[3])
    if text[0].isdigit() and "m" in text[-4:].lower():
        words = plain_words(text)
        if CLOCK.fullmatch(words):
            return Words(words)
    named = _NAMED_CHOICE.fullmatch(text)
    if named is not None:
        return Symbol(named[1].upper())
    if "(" in text or ")" in text or ". " in text or ": " in text:
        choice = _CHOICE.fullmatch(text)
        if choice is not None and (choice[1] or choice[2]).isupper():
            return _choice(choice[1] or choice[2], choice[3])
    return None


def _in_base(sign: str, digits: str, base: str) -> Node | None:
    """Return a number in a base, or None where the digits do not fit the base."""
    size = int(base) if base.isdigit() else _BASES.get(base, 0)
    if not 2 <= size <= 36 or any(int(digit, 36) >= size for digit in digits):
        return None
    if size == 10:
        return Number(fmpq(int(sign + digits)))
    return BasedNumber(sign + (digits.upper().lstrip("0") or "0"), size)


def _choice(letter: str, content: str) -> Node | None:
    if not content.strip():
        return Symbol(letter)
    if re.search(r"\([A-Z]\)|\bor\b", content):
        return Words(plain_words(f"({letter}) {content}"))
    node = parse(content.strip())
    return None if node is None else Choice(letter, node)


def _parse_tokens(text: str, is_formula: bool = False) -> Node:
    tokens = tokenize(text, is_formula)
    if "U" in text and _LETTER_U_UNION.search(text):
        tokens = [token._replace(kind="command", text="cup") if token.text == "U" else token for token in tokens]
    if not tokens or len(tokens) > MAX_TOKENS:
        raise ParseError
    if all(token.kind in WORD_KINDS or token.text in {"-", "$"} for token in tokens):
        return _spelled_out(tokens, text)
    source = TokenizedText(text, tokens, _closing(tokens), frozenset([token.text for token in tokens]))
    if _is_plain(source):
        return parse_expression(source, 0, len(tokens), 0, _parse_range)
    return _parse_range(source, 0, len(tokens), 0)


def _is_plain(source: TokenizedText) -> bool:
    """Whether an answer is one expression: no sign to split it at, and nothing that may be a unit."""
    return _STRUCTURE.isdisjoint(source.texts) and not any(
        token.kind in WORD_KINDS or (token.kind == "symbol" and (token.spaced or len(token.text) > 1))
        for token in source.tokens
    )


def _spelled_out(tokens: list[Token], text: str) -> Node:
    """Parse an answer of words: a spelled number with what it counts, or text."""
    words = re.findall(r"[^\W\d_]+", plain_words(" ".join(token.text for token in tokens)).lower())
    spelled = spelled_number(words)
    if spelled is None:
        place = ordinal(words[0]) if len(words) == 1 else None
        named = plain_words(text)
        if len(tokens) == 1 and len(named) == 1 and named.isalpha():
            return Symbol(named)
        return Words(named) if place is None else Number(fmpq(place))
    value, taken = spelled
    if taken == len(words):
        return Number(value)
    unit = read_unit(" ".join(words[taken:]))
    return Words(plain_words(text)) if unit is None else Quantity(Number(value), unit)


def _closing(tokens: list[Token]) -> dict[int, int]:
    """Return the position at which each bracket closes; round and square ones may close each other."""
    closing: dict[int, int] = {}
    stack: list[tuple[int, tuple[str, ...]]] = []
    for at, token in enumerate(tokens):
        text = token.text
        if token.kind == "sign" and text in _OPENING:
            stack.append((at, _OPENING[text]))
        elif token.kind == "command" and (text == "langle" or text.startswith("begin ")):
            stack.append((at, ("rangle" if text == "langle" else "end " + text[6:],)))
        elif (token.kind == "sign" and text in {")", "]", "}", "\\}"}) or text == "rangle" or text.startswith("end "):
            if not stack or text not in stack[-1][1]:
                raise ParseError
            closing[stack.pop()[0]] = at
        if len(stack) > MAX_DEPTH:
            raise ParseError
    if stack:
        raise ParseError
    return closing


def _outside(source: TokenizedText, start: int, stop: int) -> Iterator[int]:
    """Yield the positions of the tokens that are in no bracket."""
    at = start
    while at < stop:
        yield at
        at = source.closing.get(at, at) + 1


def _split(
    source: TokenizedText, start: int, stop: int, signs: frozenset[str], kinds: frozenset[str] = SIGN_KINDS
) -> tuple[list[tuple[int, int]], list[str]]:
    """Return the ranges between signs that are in no bracket, and the signs."""
    if signs.isdisjoint(source.texts):
        return [(start, stop)], []
    ranges, found, first = [], [], start
    for at in _outside(source, start, stop):
        token = source.tokens[at]
        if token.text in signs and token.kind in kinds:
            ranges.append((first, at))
            found.append(token.text)
            first = at + 1
    return [*ranges, (first, stop)], found


# -- items


def _parse_range(source: TokenizedText, start: int, stop: int, depth: int) -> Node:
    """Parse tokens ``start`` to ``stop``: one item, or a bare list of several."""
    if depth > MAX_DEPTH:
        raise ParseError
    if start >= stop:
        return Collection(",", ())
    built = _set_builder(source, start, stop, depth) if depth else None
    if built is not None:
        return built
    stop = _without_condition(source, start, stop)
    ranges, signs = _split(source, start, stop, SEPARATORS, SIGN_KINDS | WORD_KINDS)
    if not signs:
        return _relation(source, start, stop, depth)
    parts = [(a, b) for a, b in ranges if a < b]
    if "implies" in signs or len(parts) > MAX_ITEMS or not _are_all_filled(ranges, signs):
        raise ParseError
    return _list(source, parts, signs, depth)


def _are_all_filled(ranges: list[tuple[int, int]], signs: list[str]) -> bool:
    """Whether there is something between all signs but a comma and the word after it: ``1, 2, and 3``."""
    around = zip(["", *signs], ranges, [*signs, ""], strict=True)
    return all(start < stop or (before == "," and after in CONJUNCTIONS) for before, (start, stop), after in around)


def _list(source: TokenizedText, parts: list[tuple[int, int]], signs: list[str], depth: int) -> Node:
    r"""Parse the items of a bare list, without conditions such as ``k \in \mathbb{Z}``."""
    items = [_item(source, a, b, depth) for a, b in parts]
    kept = [item for item in items if not _is_domain_statement(item)]
    if len(kept) < len(items) and kept:
        items = kept
    if len(items) == 1:
        return items[0]
    together = _sum_of_units(items) if "and" in signs else None
    if together is not None:
        return together
    return Collection("or" if "or" in signs else "and" if "and" in signs else ",", tuple(flat(items)))


def _item(source: TokenizedText, start: int, stop: int, depth: int) -> Node:
    if all(token.kind in WORD_KINDS for token in source.tokens[start:stop]):
        return Words(plain_words(source.raw(start, stop)))
    return _relation(source, start, stop, depth)


def _sum_of_units(items: list[Node]) -> Node | None:
    """Return ``1 hour and 30 minutes`` as one quantity, or None."""
    known = [item for item in items if isinstance(item, Quantity)]
    if len(known) < len(items) or len({item.unit.dimensions for item in known}) != 1:
        return None
    factors = [item.unit.factor for item in known]
    if any(before <= after for before, after in pairwise(factors)):
        return None
    return Quantity(_added(known), Unit(fmpq(1), known[0].unit.dimensions))


def _added(parts: list[Quantity]) -> Node:
    """Return the sum of quantities of one dimension, in base units."""
    known = [part.value.value * part.unit.factor for part in parts if isinstance(part.value, Number)]
    if len(known) == len(parts):
        return Number(sum(known, fmpq(0)))
    return Sum(tuple(Product((Number(part.unit.factor), part.value)) for part in parts))


def _is_domain_statement(item: Node) -> bool:
    r"""Whether an item only says what a variable is: ``k \in \mathbb{Z}``."""
    return (
        isinstance(item, Relation)
        and item.signs == ("in",)
        and isinstance(item.sides[1], Symbol)
        and item.sides[1].name in {"setZ", "setN", "setQ", "reals", "setC"}
    )


def _without_condition(source: TokenizedText, start: int, stop: int) -> int:
    """Return where an answer ends before ``where k is an integer``."""
    for at in _outside(source, start, stop):
        token = source.tokens[at]
        first_word = token.text.split()[0].lower() if token.kind in WORD_KINDS else ""
        if at > start and first_word in {"where", "for", "with"} and _INTEGERS.search(source.canonical(at, stop)):
            return at - 1 if source.tokens[at - 1].text == "," else at
    return stop


def _set_builder(source: TokenizedText, start: int, stop: int, depth: int) -> Node | None:
    r"""Parse the inside of ``\{x \mid x > 3\}`` as its condition, or return None."""
    bars = [at for at in _outside(source, start, stop) if source.tokens[at].text in {"|", "vert", ":"}]
    opening = source.tokens[start - 1].text
    if opening != "\\{" or len(bars) != 1 or not _is_declaration(source, start, bars[0]):
        return None
    condition = _parse_range(source, bars[0] + 1, stop, depth + 1)
    if isinstance(condition, Relation):
        return Collection("{}", (condition,))
    if isinstance(condition, Collection) and condition.bracket in {",", "and", "or"}:
        return Collection("or" if condition.bracket == "or" else "and", condition.items)
    raise ParseError


def _is_declaration(source: TokenizedText, start: int, bar: int) -> bool:
    r"""Whether tokens are ``x`` or ``x \in \mathbb{R}``."""
    tokens = source.tokens[start:bar]
    is_symbol = bool(tokens) and tokens[0].kind == "symbol"
    return is_symbol and [token.text for token in tokens[1:]] in ([], ["in", "setR"])


# -- one item


def _relation(source: TokenizedText, start: int, stop: int, depth: int) -> Node:
    ranges, signs = _split(source, start, stop, RELATIONS)
    if not signs:
        return _sets(source, start, stop, depth)
    if ranges[0][0] == ranges[0][1] and signs[0] in {"=", "approx"}:
        return _relation(source, start + 1, stop, depth)
    if "equiv" in signs:
        return _congruence(source, ranges, signs, depth)
    return Relation(tuple(_side(source, a, b, depth) for a, b in ranges), tuple(signs))


def _congruence(source: TokenizedText, ranges: list[tuple[int, int]], signs: list[str], depth: int) -> Node:
    r"""Parse ``x \equiv 3 \pmod 7``."""
    start, stop = ranges[-1]
    marks = [at for at in range(start, stop) if source.tokens[at].text in {"pmod", "mod"}]
    if len(ranges) != 2 or len(signs) != 1 or len(marks) != 1:
        raise ParseError
    end = marks[0] - (source.tokens[marks[0] - 1].text == "(")
    modulus = parse_expression(source, marks[0] + 1, stop - (end < marks[0]), depth, _parse_range)
    return Relation(
        (_sets(source, *ranges[0], depth), Collection("mod", (_sets(source, start, end, depth), modulus))),
        ("equiv",),
    )


def _side(source: TokenizedText, start: int, stop: int, depth: int) -> Node:
    if start >= stop:
        raise ParseError
    if all(token.kind in WORD_KINDS for token in source.tokens[start:stop]):
        return Words(plain_words(source.raw(start, stop)))
    return _sets(source, start, stop, depth)


def _sets(source: TokenizedText, start: int, stop: int, depth: int) -> Node:
    ranges, signs = _split(source, start, stop, SET_SIGNS)
    if not signs:
        return _value(source, start, stop, depth)
    node = _value(source, *ranges[0], depth)
    for name, stretch in zip(signs, ranges[1:], strict=True):
        node = SetExpression(name, (node, _value(source, *stretch, depth)))
    return node


def _value(source: TokenizedText, start: int, stop: int, depth: int) -> Node:
    if start >= stop:
        raise ParseError
    stacked = _stacked(source, start, stop, depth)
    if stacked is not None:
        return stacked
    number = read_number(source.raw(start, stop))
    if number is not None and (depth == 0 or "," not in source.raw(start, stop)):
        return number
    ratio = _ratio(source, start, stop, depth)
    if ratio is not None:
        return ratio
    return _quantity(source, start, stop, depth) or parse_expression(source, start, stop, depth, _parse_range)


def _stacked(source: TokenizedText, start: int, stop: int, depth: int) -> Node | None:
    r"""Parse ``a \over b`` and ``a \choose b``, or return None."""
    ranges, signs = _split(source, start, stop, STACKING)
    if len(signs) != 1:
        return None
    top, bottom = (_value(source, a, b, depth) for a, b in ranges)
    return quotient(top, bottom) if signs == ["over"] else Call("binomial", (top, bottom))


def _ratio(source: TokenizedText, start: int, stop: int, depth: int) -> Node | None:
    """Parse ``3:4``, or return None."""
    ranges, signs = _split(source, start, stop, RATIO_SIGNS, RATIO_KINDS)
    if not signs:
        return None
    return Ratio(tuple(_value(source, a, b, depth) for a, b in ranges))


def _quantity(source: TokenizedText, start: int, stop: int, depth: int) -> Node | None:
    """Parse a value with its unit, or return None."""
    first = source.tokens[start]
    if first.kind in {"sign", "symbol"} and first.text in _CURRENCY and stop - start > 1:
        unit = read_unit(first.text)
        node = _value(source, start + 1, stop, depth)
        value = node.value if isinstance(node, Quantity) else node
        return Quantity(value, unit) if unit else None
    if first.text == "-" and stop - start > 1 and source.tokens[start + 1].text in _CURRENCY:
        node = _value(source, start + 1, stop, depth)
        return Quantity(negated(node.value), node.unit) if isinstance(node, Quantity) else None
    at = _unit_start(source, start, stop)
    return None if at is None else _measured(source, start, at, stop, depth) or _compound(source, start, stop, depth)


def _unit_start(source: TokenizedText, start: int, stop: int) -> int | None:
    """Return where a unit may begin, or None."""
    for at in _outside(source, start, stop):
        token = source.tokens[at]
        if token.kind == "command" and token.text in _TRIGONOMETRY:
            return None
        if at == start:
            continue
        if token.kind in WORD_KINDS or (token.kind == "sign" and token.text in "°%$€£¢"):
            return at
        if token.kind == "symbol" and _is_unit_symbol(source, start, at):
            return at
    return None


def _is_unit_symbol(source: TokenizedText, start: int, at: int) -> bool:
    """Whether a letter after a number is a unit: with a space between, or a name of several letters."""
    token = source.tokens[at]
    is_unit = named_unit(token.text) is not None and (token.spaced or len(token.text) > 1)
    return is_unit and read_number(source.raw(start, at)) is not None


def _measured(source: TokenizedText, start: int, at: int, stop: int, depth: int) -> Node | None:
    """Parse a value and the unit after it; a word such as million multiplies the value."""
    scale, end = 1, at
    while at < stop and source.tokens[at].kind in WORD_KINDS and source.tokens[at].text.lower() in SCALES:
        scale *= SCALES[source.tokens[at].text.lower()]
        at += 1
    unit = read_unit(source.raw(at, stop)) if at < stop else Unit(fmpq(1), ())
    if unit is None or scale > MAX_SCALE:
        return None
    node = _value(source, start, end, depth)
    if scale != 1:
        node = Number(node.value * scale) if isinstance(node, Number) else Product((Number(fmpq(scale)), node))
    return Quantity(node, unit) if unit.dimensions else node


def _compound(source: TokenizedText, start: int, stop: int, depth: int) -> Node | None:
    """Parse ``5 ft 6 in`` as one quantity, or return None."""
    heads = [
        at
        for at in _outside(source, start, stop)
        if source.tokens[at].kind == "number"
        and (at == start or source.tokens[at - 1].kind in {"word", "text", "symbol"})
    ]
    if len(heads) < 2 or heads[0] != start:
        return None
    parts = [_quantity(source, a, b, depth) for a, b in zip(heads, [*heads[1:], stop], strict=True)]
    return _sum_of_units([part for part in parts if part is not None]) if None not in parts else None
