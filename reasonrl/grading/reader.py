r"""Read a whole answer: lists, relations, sets, brackets, quantities, ratios, text.

An answer is split from the outside in, at signs that stand in no bracket: items, sides of a relation, joined sets,
then a value with its unit, and last an expression.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from flint import fmpq

from reasonrl.grading.expression import MAX_DEPTH, Source, read_expression
from reasonrl.grading.nodes import (
    Based,
    Call,
    Choice,
    Group,
    Node,
    Number,
    Product,
    Quantity,
    Ratio,
    Relation,
    Sets,
    Sum,
    Symbol,
    UnreadableError,
    Words,
    negated,
    quotient,
)
from reasonrl.grading.numbers import read_number
from reasonrl.grading.tokens import Token, tokenize
from reasonrl.grading.units import PERCENT, Unit, named_unit, read_unit
from reasonrl.grading.words import CLOCK, SCALES, ordinal, plain_words, spelled_number

MAX_TOKENS: Final = 1500
"""Tokens beyond which an answer is not read."""

MAX_ITEMS: Final = 200
"""Most items of one list."""

MAX_SCALE: Final = 10**30
"""Greatest product of words such as million."""

_RELATION_SIGNS = "= < > <= >= != in approx equiv sim notin cong perp parallel"
RELATIONS = frozenset(_RELATION_SIGNS.split())
SEPARATORS = frozenset({",", ";", "or", "and", "implies"})
LINKS = frozenset({"or", "and"})
SET_SIGNS = frozenset({"cup", "cap", "setminus"})
STACKING = frozenset({"over", "choose"})
RATIO_SIGNS = frozenset({":", "to"})
"""What an answer is split at, from the outside in."""

MARKS = frozenset({"sign", "command"})
WORDS = frozenset({"word", "text"})
RATIO_KINDS = frozenset({"sign", "word"})
"""The kinds of tokens that they may be."""

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
_BARE_UNION = re.compile(r"[)\]}]\s*U\s*[(\[\\{]")
_OPERATOR = re.compile(r"[0-9a-zA-Z)}]\s*[\^+*/=_]|[a-zA-Z]-[0-9]|[0-9]-[a-zA-Z]")
_WORDY = re.compile(r"[^\W\d_]{2,}")
_INTEGERS = re.compile(r"integer|setZ|setN|natural|whole")


def read(text: str) -> Node | None:
    """Return what a cleaned answer means, or None where nothing can be made of it."""
    number = read_number(text)
    if number is not None:
        return number
    if not text:
        return None
    try:
        return _short(text) or _special(text) or _whole(text)
    except UnreadableError:
        return _formula(text) or (Words(plain_words(text)) if is_text(text) else None)


def _short(text: str) -> Node | None:
    """Read ``x = 5`` and ``50%``, which are frequent, without tokens."""
    if text[-1] == "%":
        number = read_number(text[:-1].rstrip())
        return None if number is None else Quantity(number, PERCENT)
    assigned = _ASSIGNED.match(text)
    number = None if assigned is None else read_number(text[assigned.end() :])
    return None if assigned is None or number is None else Relation((Symbol(assigned[1]), number), ("=",))


def _formula(text: str) -> Node | None:
    """Read a text with signs of a formula once more, its short words as products of letters."""
    if not _OPERATOR.search(text) or "text" in text:
        return None
    try:
        return _whole(text, is_formula=True)
    except UnreadableError:
        return None


def is_text(text: str) -> bool:
    """Whether an answer that is no mathematics is text: it has words outside LaTeX commands."""
    bare = re.sub(r"\\(?:text|mathrm|textbf|mbox)[a-z]*\s*\{", " ", text)
    if re.search(r"\\[a-zA-Z]+|[\^=<>]", bare):
        return False
    return _WORDY.search(bare) is not None


def _special(text: str) -> Node | None:
    """Return what is read from the text itself: a number in a base, a choice letter."""
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
    """Return a number in a base, or None where the digits do not fit or the base is ten."""
    size = int(base) if base.isdigit() else _BASES.get(base, 0)
    if not 2 <= size <= 36 or any(int(digit, 36) >= size for digit in digits):
        return None
    if size == 10:
        return Number(fmpq(int(sign + digits)))
    return Based(sign + (digits.upper().lstrip("0") or "0"), size)


def _choice(letter: str, content: str) -> Node | None:
    """Return a choice letter, with what stands behind it."""
    if not content.strip():
        return Symbol(letter)
    if re.search(r"\([A-Z]\)|\bor\b", content):
        return Words(plain_words(f"({letter}) {content}"))
    node = read(content.strip())
    return None if node is None else Choice(letter, node)


def _whole(text: str, is_formula: bool = False) -> Node:
    """Read an answer from its tokens."""
    tokens = tokenize(text, is_formula)
    if "U" in text and _BARE_UNION.search(text):
        tokens = [token._replace(kind="command", text="cup") if token.text == "U" else token for token in tokens]
    if not tokens or len(tokens) > MAX_TOKENS:
        raise UnreadableError
    if all(token.kind in {"word", "text"} or token.text in {"-", "$"} for token in tokens):
        return _spelled(tokens, text)
    source = Source(text, tokens, _closing(tokens), frozenset([token.text for token in tokens]))
    if _is_plain(source):
        return read_expression(source, 0, len(tokens), 0, _inside)
    return _inside(source, 0, len(tokens), 0)


def _is_plain(source: Source) -> bool:
    """Whether an answer is one expression: no sign to split it at, and nothing that may be a unit."""
    return _STRUCTURE.isdisjoint(source.texts) and not any(
        token.kind in WORDS or (token.kind == "symbol" and (token.spaced or len(token.text) > 1))
        for token in source.tokens
    )


def _spelled(tokens: list[Token], text: str) -> Node:
    """Read an answer of words: a spelled number with what it counts, or text."""
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
    """Return where each bracket closes; round and square ones may close each other."""
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
                raise UnreadableError
            closing[stack.pop()[0]] = at
        if len(stack) > MAX_DEPTH:
            raise UnreadableError
    if stack:
        raise UnreadableError
    return closing


def _outside(source: Source, start: int, stop: int) -> Iterator[int]:
    """Yield the positions of tokens that stand in no bracket."""
    at = start
    while at < stop:
        yield at
        at = source.closing.get(at, at) + 1


def _split(
    source: Source, start: int, stop: int, signs: frozenset[str], kinds: frozenset[str] = MARKS
) -> tuple[list[tuple[int, int]], list[str]]:
    """Return the stretches between signs that stand in no bracket, and the signs."""
    if signs.isdisjoint(source.texts):
        return [(start, stop)], []
    stretches, found, first = [], [], start
    for at in _outside(source, start, stop):
        token = source.tokens[at]
        if token.text in signs and token.kind in kinds:
            stretches.append((first, at))
            found.append(token.text)
            first = at + 1
    return [*stretches, (first, stop)], found


# -- items


def _inside(source: Source, start: int, stop: int, depth: int) -> Node:
    """Read a stretch of tokens: one item, or a bare list of several."""
    if depth > MAX_DEPTH:
        raise UnreadableError
    if start >= stop:
        return Group(",", ())
    built = _builder(source, start, stop, depth) if depth else None
    if built is not None:
        return built
    stop = _without_condition(source, start, stop)
    stretches, signs = _split(source, start, stop, SEPARATORS, MARKS | WORDS)
    if not signs:
        return _relation(source, start, stop, depth)
    parts = [(a, b) for a, b in stretches if a < b]
    if "implies" in signs or len(parts) > MAX_ITEMS or not _are_all_filled(stretches, signs):
        raise UnreadableError
    return _list(source, parts, signs, depth)


def _are_all_filled(stretches: list[tuple[int, int]], signs: list[str]) -> bool:
    """Whether something stands between all signs but a comma and the word after it: ``1, 2, and 3``."""
    around = zip(["", *signs], stretches, [*signs, ""], strict=True)
    return all(start < stop or (before == "," and after in LINKS) for before, (start, stop), after in around)


def _list(source: Source, parts: list[tuple[int, int]], signs: list[str], depth: int) -> Node:
    """Read the items of a bare list, without a condition that only says what kind of number a variable is."""
    items = [_item(source, a, b, depth) for a, b in parts]
    kept = [item for item in items if not _is_kind(item)]
    if len(kept) < len(items) and kept:
        items = kept
    if len(items) == 1:
        return items[0]
    together = _together(items) if "and" in signs else None
    if together is not None:
        return together
    items = [
        one for item in items for one in (item.items if isinstance(item, Group) and item.bracket == "," else [item])
    ]
    return Group("or" if "or" in signs else "and" if "and" in signs else ",", tuple(items))


def _item(source: Source, start: int, stop: int, depth: int) -> Node:
    """Read one item of a list, which may be text."""
    if all(token.kind in WORDS for token in source.tokens[start:stop]):
        return Words(plain_words(source.raw(start, stop)))
    return _relation(source, start, stop, depth)


def _together(items: list[Node]) -> Node | None:
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
    if all(isinstance(part.value, Number) for part in parts):
        total = fmpq(0)
        for part in parts:
            total += part.value.value * part.unit.factor if isinstance(part.value, Number) else 0
        return Number(total)
    return Sum(tuple(Product((Number(part.unit.factor), part.value)) for part in parts))


def _is_kind(item: Node) -> bool:
    r"""Whether an item only says what a variable is: ``k \in \mathbb{Z}``."""
    return (
        isinstance(item, Relation)
        and item.signs == ("in",)
        and isinstance(item.sides[1], Symbol)
        and item.sides[1].name in {"setZ", "setN", "setQ", "reals", "setC"}
    )


def _without_condition(source: Source, start: int, stop: int) -> int:
    """Return where an answer ends before ``where k is an integer``."""
    for at in _outside(source, start, stop):
        token = source.tokens[at]
        first_word = token.text.split()[0].lower() if token.kind in {"word", "text"} else ""
        if at > start and first_word in {"where", "for", "with"} and _INTEGERS.search(source.canonical(at, stop)):
            return at - 1 if source.tokens[at - 1].text == "," else at
    return stop


def _builder(source: Source, start: int, stop: int, depth: int) -> Node | None:
    r"""Read the inside of ``\{x \mid x > 3\}`` as its condition, or return None."""
    bars = [at for at in _outside(source, start, stop) if source.tokens[at].text in {"|", "vert", ":"}]
    opening = source.tokens[start - 1].text
    if opening != "\\{" or len(bars) != 1 or not _is_declaration(source, start, bars[0]):
        return None
    condition = _inside(source, bars[0] + 1, stop, depth + 1)
    if isinstance(condition, Relation):
        return Group("{}", (condition,))
    if isinstance(condition, Group) and condition.bracket in {",", "and", "or"}:
        return Group("or" if condition.bracket == "or" else "and", condition.items)
    raise UnreadableError


def _is_declaration(source: Source, start: int, bar: int) -> bool:
    r"""Whether tokens are ``x`` or ``x \in \mathbb{R}``."""
    tokens = source.tokens[start:bar]
    is_symbol = bool(tokens) and tokens[0].kind == "symbol"
    return is_symbol and (
        len(tokens) == 1 or (len(tokens) == 3 and tokens[1].text == "in" and tokens[2].text == "setR")
    )


# -- one item


def _relation(source: Source, start: int, stop: int, depth: int) -> Node:
    """Read one item: a relation, or what has no sign of one."""
    stretches, signs = _split(source, start, stop, RELATIONS)
    if not signs:
        return _sets(source, start, stop, depth)
    if stretches[0][0] == stretches[0][1] and signs[0] in {"=", "approx"}:
        return _relation(source, start + 1, stop, depth)
    if "equiv" in signs:
        return _congruence(source, stretches, signs, depth)
    return Relation(tuple(_side(source, a, b, depth) for a, b in stretches), tuple(signs))


def _congruence(source: Source, stretches: list[tuple[int, int]], signs: list[str], depth: int) -> Node:
    r"""Read ``x \equiv 3 \pmod 7``."""
    start, stop = stretches[-1]
    marks = [at for at in range(start, stop) if source.tokens[at].text in {"pmod", "mod"}]
    if len(stretches) != 2 or len(signs) != 1 or len(marks) != 1:
        raise UnreadableError
    end = marks[0] - (source.tokens[marks[0] - 1].text == "(")
    modulus = read_expression(source, marks[0] + 1, stop - (end < marks[0]), depth, _inside)
    return Relation(
        (_sets(source, *stretches[0], depth), Group("mod", (_sets(source, start, end, depth), modulus))), ("equiv",)
    )


def _side(source: Source, start: int, stop: int, depth: int) -> Node:
    """Read one side of a relation; a name in words is text."""
    if start >= stop:
        raise UnreadableError
    if all(token.kind in {"word", "text"} for token in source.tokens[start:stop]):
        return Words(plain_words(source.raw(start, stop)))
    return _sets(source, start, stop, depth)


def _sets(source: Source, start: int, stop: int, depth: int) -> Node:
    """Read sets that are joined, or one value."""
    stretches, signs = _split(source, start, stop, SET_SIGNS)
    if not signs:
        return _value(source, start, stop, depth)
    node = _value(source, *stretches[0], depth)
    for name, stretch in zip(signs, stretches[1:], strict=True):
        node = Sets(name, (node, _value(source, *stretch, depth)))
    return node


def _value(source: Source, start: int, stop: int, depth: int) -> Node:
    """Read a number, a ratio, a quantity, or an expression."""
    if start >= stop:
        raise UnreadableError
    stacked = _stacked(source, start, stop, depth)
    if stacked is not None:
        return stacked
    number = read_number(source.raw(start, stop))
    if number is not None and (depth == 0 or "," not in source.raw(start, stop)):
        return number
    ratio = _ratio(source, start, stop, depth)
    if ratio is not None:
        return ratio
    return _quantity(source, start, stop, depth) or read_expression(source, start, stop, depth, _inside)


def _stacked(source: Source, start: int, stop: int, depth: int) -> Node | None:
    r"""Read ``a \over b`` and ``a \choose b``, or return None."""
    stretches, signs = _split(source, start, stop, STACKING)
    if len(signs) != 1:
        return None
    top, bottom = (_value(source, a, b, depth) for a, b in stretches)
    return quotient(top, bottom) if signs == ["over"] else Call("binomial", (top, bottom))


def _ratio(source: Source, start: int, stop: int, depth: int) -> Node | None:
    """Read ``3:4``, or return None."""
    stretches, signs = _split(source, start, stop, RATIO_SIGNS, RATIO_KINDS)
    if not signs:
        return None
    return Ratio(tuple(_value(source, a, b, depth) for a, b in stretches))


def _quantity(source: Source, start: int, stop: int, depth: int) -> Node | None:
    """Read a value with its unit, or return None."""
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


def _unit_start(source: Source, start: int, stop: int) -> int | None:
    """Return where a unit may begin, or None."""
    for at in _outside(source, start, stop):
        token = source.tokens[at]
        if token.kind == "command" and token.text in _TRIGONOMETRY:
            return None
        if at == start:
            continue
        if token.kind in {"text", "word"} or (token.kind == "sign" and token.text in "°%$€£¢"):
            return at
        if token.kind == "symbol" and _is_unit_symbol(source, start, at):
            return at
    return None


def _is_unit_symbol(source: Source, start: int, at: int) -> bool:
    """Whether a letter after a number is a unit: with a space between, or a name of several letters."""
    token = source.tokens[at]
    is_unit = named_unit(token.text) is not None and (token.spaced or len(token.text) > 1)
    return is_unit and read_number(source.raw(start, at)) is not None


def _measured(source: Source, start: int, at: int, stop: int, depth: int) -> Node | None:
    """Read a value and the unit behind it; a word such as million multiplies the value."""
    scale, end = 1, at
    while at < stop and source.tokens[at].kind in {"word", "text"} and source.tokens[at].text.lower() in SCALES:
        scale *= SCALES[source.tokens[at].text.lower()]
        at += 1
    unit = read_unit(source.raw(at, stop)) if at < stop else Unit(fmpq(1), ())
    if unit is None or scale > MAX_SCALE:
        return None
    node = _value(source, start, end, depth)
    if scale != 1:
        node = Number(node.value * scale) if isinstance(node, Number) else Product((Number(fmpq(scale)), node))
    return Quantity(node, unit) if unit.dimensions else node


def _compound(source: Source, start: int, stop: int, depth: int) -> Node | None:
    """Read ``5 ft 6 in`` as one quantity, or return None."""
    heads = [
        at
        for at in _outside(source, start, stop)
        if source.tokens[at].kind == "number"
        and (at == start or source.tokens[at - 1].kind in {"word", "text", "symbol"})
    ]
    if len(heads) < 2 or heads[0] != start:
        return None
    parts = [_quantity(source, a, b, depth) for a, b in zip(heads, [*heads[1:], stop], strict=True)]
    return _together([part for part in parts if part is not None]) if None not in parts else None
