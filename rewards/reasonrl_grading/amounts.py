"""Read a value with its unit: ``5 km``, ``$5.20``, ``5 ft 6 in``, ``2 million dollars``, ``5 thirds``."""

from itertools import pairwise
from typing import Final

from flint import fmpq

from reasonrl_grading.nodes import Node, Number, Product, Quantity, Sum, negated
from reasonrl_grading.numbers import read_number
from reasonrl_grading.source import WORD_KINDS, ParseRange, TokenizedText, outside
from reasonrl_grading.units import Unit, named_unit, read_scaled_unit, read_unit

UNIT_SIGNS: Final = "°%$€£¢₹¥"
"""Signs that may stand after a value."""

_CURRENCY = frozenset({"$", "€", "£", "₹", "¥", "USD", "EUR", "GBP", "INR", "JPY", "Rs"})
_WITH_ANGLES = frozenset({"sin", "cos", "tan", "cot", "sec", "csc", "cis", "int", "lim"})


def read_quantity(source: TokenizedText, start: int, stop: int, depth: int, value: ParseRange) -> Node | None:
    """Parse a value with its unit, or return None.

    Args:
        source: the tokens.
        start: the first of them.
        stop: the one after the last.
        depth: how deep they are nested.
        value: parses the value before the unit.

    Raises:
        ParseError: what stands before a unit is no value.
    """
    first = source.tokens[start]
    if first.text in _CURRENCY and stop - start > 1:
        return _price(source, start, stop, depth, value)
    if first.text == "-" and stop - start > 1 and source.tokens[start + 1].text in _CURRENCY:
        price = value(source, start + 1, stop, depth)
        return Quantity(negated(price.value), price.unit) if isinstance(price, Quantity) else None
    at = _unit_start(source, start, stop)
    if at is None:
        return None
    return _measured(source, start, at, stop, depth, value) or _compound(source, start, stop, depth, value)


def _price(source: TokenizedText, start: int, stop: int, depth: int, value: ParseRange) -> Node | None:
    """Parse an amount after the sign of its currency; ``per hour`` or the name of the currency may follow it."""
    unit, amount = read_unit(source.tokens[start].text), value(source, start + 1, stop, depth)
    if unit is None or not isinstance(amount, Quantity):
        return None if unit is None else Quantity(amount, unit)
    if all(power < 0 for _, power in amount.unit.dimensions):
        dimensions = tuple(sorted((*amount.unit.dimensions, *unit.dimensions)))
        return Quantity(amount.value, Unit(amount.unit.factor * unit.factor, dimensions))
    return Quantity(amount.value, unit) if amount.unit == unit else None


def _unit_start(source: TokenizedText, start: int, stop: int) -> int | None:
    """Return where a unit may begin, or None."""
    for at in outside(source, start, stop):
        token = source.tokens[at]
        if token.kind == "command" and token.text in _WITH_ANGLES:
            return None
        if at == start:
            continue
        if token.kind in WORD_KINDS or (token.kind == "sign" and token.text in UNIT_SIGNS):
            return at
        if token.kind == "symbol" and _is_unit_symbol(source, start, at):
            return at
    return None


def _is_unit_symbol(source: TokenizedText, start: int, at: int) -> bool:
    """Whether a letter after a number is a unit: with a space between, or a name of several letters."""
    token = source.tokens[at]
    is_unit = named_unit(token.text) is not None and (token.spaced or len(token.text) > 1)
    return is_unit and read_number(source.raw(start, at)) is not None


def _measured(source: TokenizedText, start: int, at: int, stop: int, depth: int, value: ParseRange) -> Node | None:
    """Parse a value and the unit after it; a word such as million multiplies the value."""
    number = read_number(source.raw(start, at))
    scaled = read_scaled_unit(source.raw(at, stop), None if number is None else number.value)
    if scaled is None:
        return None
    scale, unit = scaled
    node = number or value(source, start, at, depth)
    if scale != 1:
        node = Number(node.value * scale) if isinstance(node, Number) else Product((Number(scale), node))
    return Quantity(node, unit) if unit.dimensions else node


def _compound(source: TokenizedText, start: int, stop: int, depth: int, value: ParseRange) -> Node | None:
    """Parse ``5 ft 6 in`` as one quantity, or return None."""
    heads = [
        at
        for at in outside(source, start, stop)
        if source.tokens[at].kind == "number"
        and (at == start or source.tokens[at - 1].kind in {"word", "text", "symbol"})
    ]
    if len(heads) < 2 or heads[0] != start:
        return None
    parts = [read_quantity(source, a, b, depth, value) for a, b in zip(heads, [*heads[1:], stop], strict=True)]
    return sum_of_units([part for part in parts if part is not None]) if None not in parts else None


def sum_of_units(items: list[Node]) -> Node | None:
    """Return ``1 hour and 30 minutes`` as one quantity, or None: units of one kind, each smaller than the last."""
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
