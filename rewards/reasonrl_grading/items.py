r"""Parse the items of an answer: lists, relations, sets and their unions, ratios, times, quantities.

A range of tokens is split from the outside in, at signs that are in no bracket: items, sides of a relation, joined
sets, then a value with its unit, and last an expression.
"""

import re
from typing import Final

from reasonrl_grading.amounts import UNIT_SIGNS, read_quantity, sum_of_units
from reasonrl_grading.bases import read_based
from reasonrl_grading.clock import read_clock
from reasonrl_grading.expression import parse_expression
from reasonrl_grading.nodes import (
    REALS,
    Call,
    Clock,
    Collection,
    Node,
    Number,
    ParseError,
    Quantity,
    Ratio,
    Relation,
    SetExpression,
    Symbol,
    Words,
    quotient,
)
from reasonrl_grading.normalize import flat
from reasonrl_grading.numbers import read_number
from reasonrl_grading.source import MAX_DEPTH, RELATIONS, SIGN_KINDS, WORD_KINDS, TokenizedText, outside, split
from reasonrl_grading.tokens import Token
from reasonrl_grading.values import symbols
from reasonrl_grading.words import plain_words

MAX_ITEMS: Final = 200
"""Items of one list."""

_SEPARATORS = frozenset({",", ";", "or", "and", "implies"})
_CONJUNCTIONS = frozenset({"or", "and"})
_SET_SIGNS = frozenset({"cup", "cap", "setminus"})
_BARS = frozenset({"|", "vert", ":"})
_STACKING = frozenset({"over", "choose"})
_RATIO_SIGNS = frozenset({":", "to"})
_RATIO_KINDS = frozenset({"sign", "word", "text"})
_STRUCTURE = RELATIONS | _SEPARATORS | _SET_SIGNS | _STACKING | _RATIO_SIGNS | frozenset(UNIT_SIGNS) | {"mod", "pmod"}
_INTEGER_NAMES = frozenset("ijklmnN")
_DOMAIN = re.compile(
    r"(?:where|for|with)\s+(?:(?:all|any|every|some|each)\s+)?(?:[a-zA-Z](?![a-zA-Z])\s*(?:,|and)?\s*)*"
    r"(?:(?:is|are|being)\s+)?(?:(?:an?|any|some|all)\s+)?(?:arbitrary\s+)?(?:integers?|\\in\s*\\math(?:bb|bf)\s*\{Z\})"
    r"(?:\s+[a-zA-Z])?",
    re.IGNORECASE,
)
_TEXT = re.compile(r"\\(?:text[a-z]*|mathrm|mbox)\s*\{([^{}]*)\}")
_ARGUMENTS = frozenset("xyztnkmsuvwθ")


def is_plain(source: TokenizedText) -> bool:
    """Whether an answer is one expression: no sign to split it at, and nothing that may be a unit."""
    return _STRUCTURE.isdisjoint(source.texts) and not any(
        token.kind in WORD_KINDS or (token.kind == "symbol" and (token.spaced or len(token.text) > 1))
        for token in source.tokens
    )


def parse_range(source: TokenizedText, start: int, stop: int, depth: int) -> Node:
    """Parse tokens ``start`` to ``stop``: one item, or a bare list of several.

    Raises:
        ParseError: they do not follow the grammar, or nest too deep.
    """
    if depth > MAX_DEPTH:
        raise ParseError
    if start >= stop:
        return Collection(",", ())
    if stop - start == 1 and (number := _only_number(source.tokens[start])) is not None:
        return number
    built = _set_builder(source, start, stop, depth) if depth else None
    if built is not None:
        return built
    stop = _without_condition(source, start, stop)
    ranges, signs = split(source, start, stop, _SEPARATORS, SIGN_KINDS | WORD_KINDS)
    if not signs:
        return _relation(source, start, stop, depth)
    parts = [(a, b) for a, b in ranges if a < b]
    if "implies" in signs or len(parts) > MAX_ITEMS or not _are_all_filled(ranges, signs):
        raise ParseError
    return (
        _residues(source, parts, signs, depth)
        or _alternatives(source, start, stop, depth)
        or _list(source, parts, signs, depth)
    )


def _only_number(token: Token) -> Number | None:
    """Return the number that a token is, where it is written without separators."""
    is_number = token.kind == "number" and token.end - token.start == len(token.text)
    return read_number(token.text) if is_number else None


# -- lists


def _are_all_filled(ranges: list[tuple[int, int]], signs: list[str]) -> bool:
    """Whether there is something between all signs but a comma and the word after it: ``1, 2, and 3``."""
    around = zip(["", *signs], ranges, [*signs, ""], strict=True)
    return all(start < stop or (before == "," and after in _CONJUNCTIONS) for before, (start, stop), after in around)


def _list(source: TokenizedText, parts: list[tuple[int, int]], signs: list[str], depth: int) -> Node:
    r"""Parse the items of a bare list, without conditions such as ``k \in \mathbb{Z}``."""
    items = _without_domains([_item(source, a, b, depth) for a, b in parts])
    if len(items) == 1:
        return items[0]
    together = sum_of_units(items) if "and" in signs else None
    if together is not None:
        return together
    return Collection("or" if "or" in signs else "and" if "and" in signs else ",", tuple(flat(items)))


def _alternatives(source: TokenizedText, start: int, stop: int, depth: int) -> Node | None:
    """Parse ``x=1, y=2 or x=2, y=1``, alternatives of several relations each, or return None.

    Raises:
        ParseError: ``and`` and ``or`` stand between other things than relations.
    """
    for sign in ("or", ";"):
        groups, found = split(source, start, stop, frozenset({sign}), SIGN_KINDS | WORD_KINDS)
        inner = [split(source, a, b, frozenset({",", "and"}), SIGN_KINDS | WORD_KINDS) for a, b in groups]
        has_both = bool(found) and any("and" in signs for _, signs in inner)
        if not found or not (has_both or all(signs for _, signs in inner)):
            continue
        if all(a < b and split(source, a, b, RELATIONS)[1] for ranges, _ in inner for a, b in ranges):
            parts = [[_relation(source, a, b, depth) for a, b in ranges] for ranges, _ in inner]
            return Collection("or", tuple(one[0] if len(one) == 1 else Collection("and", tuple(one)) for one in parts))
        if has_both:
            raise ParseError
    return None


def _item(source: TokenizedText, start: int, stop: int, depth: int) -> Node:
    if all(token.kind in WORD_KINDS for token in source.tokens[start:stop]):
        return Words(plain_words(source.raw(start, stop)))
    return _relation(source, start, stop, depth)


def _without_domains(items: list[Node]) -> list[Node]:
    r"""Return items without those that say of a variable of the others what its name says: ``k \in \mathbb{Z}``."""
    used = {name for item in items if _declared(item) is None for name in symbols(item)}
    return [item for item in items if _declared(item) not in used]


def _declared(item: Node) -> str | None:
    """Return the variable of which an item says that it is an integer, as k and n are, or real, as others are."""
    if not isinstance(item, Relation) or item.signs != ("in",) or not isinstance(item.sides[0], Symbol):
        return None
    name = item.sides[0].name
    return name if item.sides[1] == (Symbol("setZ") if name in _INTEGER_NAMES else REALS) else None


def _without_condition(source: TokenizedText, start: int, stop: int) -> int:
    """Return where an answer ends before ``where k is an integer``."""
    if WORD_KINDS.isdisjoint(source.kinds):
        return stop
    for at in outside(source, start, stop):
        token = source.tokens[at]
        first_word = token.text.split()[0].lower() if token.kind in WORD_KINDS else ""
        if at > start and first_word in {"where", "for", "with"}:
            statement = " ".join(_TEXT.sub(r" \1 ", source.raw(at, stop)).split())
            if _DOMAIN.fullmatch(statement):
                return at - 1 if source.tokens[at - 1].text == "," else at
    return stop


def _residues(source: TokenizedText, parts: list[tuple[int, int]], signs: list[str], depth: int) -> Node | None:
    r"""Parse ``x \equiv 1, 3 \pmod 8`` as a congruence for each residue, or return None."""
    if "equiv" not in source.texts or not source.texts & {"pmod", "mod"} or "and" in signs:
        return None
    heads = [at for at in outside(source, parts[0][0], parts[-1][1]) if source.tokens[at].text == "equiv"]
    modulus = _modulus_mark(source, *parts[-1])
    if len(heads) != 1 or heads[0] >= parts[0][1] or modulus is None:
        return None
    left = _sets(source, parts[0][0], heads[0], depth)
    last = _residue(source, *parts[-1], depth)
    residues = [(heads[0] + 1, parts[0][1]), *parts[1:-1]]
    whole = [Collection("mod", (_value(source, a, b, depth), last.items[1])) for a, b in residues]
    return Collection("or", tuple(Relation((left, one), ("equiv",)) for one in [*whole, last]))


# -- sets by their condition


def _set_builder(source: TokenizedText, start: int, stop: int, depth: int) -> Node | None:
    r"""Parse the inside of ``\{x \mid x > 3\}`` as its condition, or return None."""
    if source.texts.isdisjoint(_BARS):
        return None
    bars = [at for at in outside(source, start, stop) if source.tokens[at].text in _BARS]
    opening = source.tokens[start - 1].text
    if opening != "\\{" or len(bars) != 1 or not _is_declaration(source, start, bars[0]):
        return None
    condition = parse_range(source, bars[0] + 1, stop, depth + 1)
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
    ranges, signs = split(source, start, stop, RELATIONS)
    if not signs:
        return _sets(source, start, stop, depth)
    if depth == 0 and ranges[0][0] == ranges[0][1] and signs[0] in {"=", "approx"}:
        return _relation(source, start + 1, stop, depth)
    if "equiv" in signs:
        return _congruence(source, ranges, signs, depth)
    joined = _joined_relations(source, start, stop, depth)
    if joined is not None:
        return joined
    head = _function_head(source, *ranges[0]) if signs[0] == "=" else None
    sides = ranges if head is None else ranges[1:]
    nodes = [_side(source, a, b, depth) for a, b in sides]
    return Relation(tuple(nodes if head is None else [head, *nodes]), tuple(signs))


def _joined_relations(source: TokenizedText, start: int, stop: int, depth: int) -> Node | None:
    r"""Parse ``x<1 \cup x>3``, a union of what relations describe, or return None."""
    ranges, signs = split(source, start, stop, _SET_SIGNS)
    if not signs or any(not split(source, a, b, RELATIONS)[1] for a, b in ranges):
        return None
    return _joined([_relation(source, a, b, depth) for a, b in ranges], signs)


def _function_head(source: TokenizedText, start: int, stop: int) -> Symbol | None:
    r"""Return what ``p(x)`` or ``f^{-1}(x)`` before an equals sign names, or None."""
    tokens = source.tokens[start:stop]
    texts = [token.text for token in tokens]
    is_called = len(texts) > 3 and tokens[0].kind == "symbol" and texts[-3] == "(" and texts[-1] == ")"
    if not is_called or not (texts[-2] in _ARGUMENTS or tokens[-2].kind == "number"):
        return None
    is_plain_name = all(text == "'" for text in texts[1:-3]) and not (tokens[-2].kind == "number" and texts[0] in "xyz")
    is_inverse = "".join(texts[1:-3]) in {"^{-1}", "^-1"}
    name = source.canonical(start, stop).replace("{", "").replace("}", "")
    return Symbol(name) if is_plain_name or is_inverse else None


def _congruence(source: TokenizedText, ranges: list[tuple[int, int]], signs: list[str], depth: int) -> Node:
    r"""Parse ``x \equiv 3 \pmod 7``."""
    if len(ranges) != 2 or len(signs) != 1 or _modulus_mark(source, *ranges[-1]) is None:
        raise ParseError
    return Relation((_sets(source, *ranges[0], depth), _residue(source, *ranges[-1], depth)), ("equiv",))


def _modulus_mark(source: TokenizedText, start: int, stop: int) -> int | None:
    """Return where the only ``mod`` is, or None."""
    marks = [at for at in range(start, stop) if source.tokens[at].text in {"pmod", "mod"}]
    return marks[0] if len(marks) == 1 else None


def _residue(source: TokenizedText, start: int, stop: int, depth: int) -> Collection:
    r"""Parse ``3 \pmod 7`` as a residue and its modulus."""
    mark = _modulus_mark(source, start, stop)
    if mark is None or mark == start:
        raise ParseError
    is_bracketed = source.tokens[mark - 1].text == "("
    end = mark - is_bracketed
    if is_bracketed and source.closing.get(end) != stop - 1:
        raise ParseError
    modulus = parse_expression(source, mark + 1, stop - is_bracketed, depth, parse_range)
    return Collection("mod", (_value(source, start, end, depth), modulus))


def _side(source: TokenizedText, start: int, stop: int, depth: int) -> Node:
    if start >= stop:
        raise ParseError
    if all(token.kind in WORD_KINDS for token in source.tokens[start:stop]):
        return Words(plain_words(source.raw(start, stop)))
    return _sets(source, start, stop, depth)


def _sets(source: TokenizedText, start: int, stop: int, depth: int) -> Node:
    ranges, signs = split(source, start, stop, _SET_SIGNS)
    if not signs:
        return _value(source, start, stop, depth)
    return _joined([_value(source, a, b, depth) for a, b in ranges], signs)


def _joined(parts: list[Node], signs: list[str]) -> Node:
    r"""Join sets from left to right; a number is no set, so that ``2 \cup 3`` is not read."""
    if any(isinstance(part, Number | Quantity | Ratio | Clock) for part in parts):
        raise ParseError
    node = parts[0]
    for sign, part in zip(signs, parts[1:], strict=True):
        node = SetExpression(sign, (node, part))
    return node


def _value(source: TokenizedText, start: int, stop: int, depth: int) -> Node:
    if start >= stop:
        raise ParseError
    raw = source.raw(start, stop)
    number = read_number(raw)
    if number is not None and (depth == 0 or "," not in raw):
        return number
    if not source.texts.isdisjoint({"mod", "pmod"}) and _modulus_mark(source, start, stop) is not None:
        return _residue(source, start, stop, depth)
    return _special_value(source, start, stop, depth) or parse_expression(source, start, stop, depth, parse_range)


def _special_value(source: TokenizedText, start: int, stop: int, depth: int) -> Node | None:
    """Parse a number in a base, a stacked fraction, a time, a ratio or a quantity, or return None."""
    return (
        read_based(source.raw(start, stop))
        or _stacked(source, start, stop, depth)
        or read_clock(source.raw(start, stop))
        or _ratio(source, start, stop, depth)
        or read_quantity(source, start, stop, depth, _value)
    )


def _stacked(source: TokenizedText, start: int, stop: int, depth: int) -> Node | None:
    r"""Parse ``a \over b`` and ``a \choose b``, or return None."""
    ranges, signs = split(source, start, stop, _STACKING)
    if len(signs) != 1:
        return None
    top, bottom = (_value(source, a, b, depth) for a, b in ranges)
    return quotient(top, bottom) if signs == ["over"] else Call("binomial", (top, bottom))


def _ratio(source: TokenizedText, start: int, stop: int, depth: int) -> Node | None:
    """Parse ``3:4``, or return None."""
    ranges, signs = split(source, start, stop, _RATIO_SIGNS, _RATIO_KINDS)
    if not signs:
        return None
    return Ratio(tuple(_value(source, a, b, depth) for a, b in ranges))
