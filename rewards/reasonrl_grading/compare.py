"""Compare two parsed answers, by what kind of answer each is."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from flint import fmpq

from reasonrl_grading.algebra import constant_ratio, same_expressions
from reasonrl_grading.nodes import (
    INFINITY,
    REALS,
    REVERSED_SIGNS,
    UNBRACKETED,
    BasedNumber,
    Call,
    Choice,
    Collection,
    Matrix,
    Node,
    Number,
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
from reasonrl_grading.policy import Policy
from reasonrl_grading.realsets import describes_set, same_sets
from reasonrl_grading.units import PERCENT
from reasonrl_grading.values import symbols
from reasonrl_grading.words import SYNONYMS

_SYMBOLIC_WORDS: Mapping[str, Node] = {
    "all real numbers": REALS,
    "infinity": INFINITY,
    "no solution": Collection("{}", ()),
    "empty set": Collection("{}", ()),
}
_ANGLED_AS_ROUND = {"()": "()", "<>": "()"}
Kind = TypeVar("Kind", bound=Node)


def same_answers(given: Node, wanted: Node, policy: Policy) -> bool:
    """Whether two whole answers are the same; a set of one item equals the item."""
    if policy.assignment == "drop" and _is_relation(given) != _is_relation(wanted):
        given, wanted = assigned_value(given, policy), assigned_value(wanted, policy)
    if _is_singleton(given) != _is_singleton(wanted):
        given, wanted = _only_item(given, wanted), _only_item(wanted, given)
    return same(given, wanted, policy)


def _is_singleton(node: Node) -> bool:
    return isinstance(node, Collection) and node.bracket == "{}" and len(node.items) == 1


def _only_item(node: Node, other: Node) -> Node:
    """Return the item of a set of one where the other answer is neither a list nor a relation."""
    is_plain = not isinstance(other, Collection | Relation | SetExpression) and other != REALS
    if is_plain and isinstance(node, Collection) and _is_singleton(node) and not isinstance(node.items[0], Relation):
        return node.items[0]
    return node


def same(given: Node, wanted: Node, policy: Policy) -> bool:
    """Whether two answers are the same under a policy."""
    if isinstance(given, Number) and isinstance(wanted, Number):
        return same_expressions(given, wanted, policy)
    if isinstance(given, Choice) or isinstance(wanted, Choice):
        return _same_choices(given, wanted, policy)
    if isinstance(given, Words) or isinstance(wanted, Words):
        return _same_words(given, wanted, policy)
    if isinstance(given, BasedNumber) or isinstance(wanted, BasedNumber):
        return _same_based(given, wanted, policy)
    if policy.assignment == "drop" and _is_relation(given) != _is_relation(wanted):
        given, wanted = assigned_value(given, policy), assigned_value(wanted, policy)
    return _same_structures(given, wanted, policy)


def _same_structures(given: Node, wanted: Node, policy: Policy) -> bool:
    if describes_set(given) or describes_set(wanted):
        are_same = same_sets(given, wanted)
        if are_same is not None:
            return are_same
    if isinstance(given, Relation) and isinstance(wanted, Relation):
        return _same_relations(given, wanted, policy)
    if isinstance(given, SetExpression) and isinstance(wanted, SetExpression):
        return given.sign == wanted.sign and _all_same(given.parts, wanted.parts, policy)
    if isinstance(given, Matrix) or isinstance(wanted, Matrix):
        return _same_matrices(given, wanted, policy)
    if isinstance(given, Collection) or isinstance(wanted, Collection):
        return _same_collections(given, wanted, policy)
    if isinstance(given, Ratio) or isinstance(wanted, Ratio):
        return _same_ratios(given, wanted, policy)
    if isinstance(given, Quantity) or isinstance(wanted, Quantity):
        return _same_quantities(given, wanted, policy)
    if isinstance(given, Relation | SetExpression) or isinstance(wanted, Relation | SetExpression):
        return False
    return same_expressions(given, wanted, policy)


def _kind_first(kind: type[Kind], given: Node, wanted: Node) -> tuple[Kind, Node]:
    """Return two answers, one of a kind at least, so that this one comes first."""
    if isinstance(given, kind):
        return given, wanted
    assert isinstance(wanted, kind)
    return wanted, given


def _all_same(given: tuple[Node, ...], wanted: tuple[Node, ...], policy: Policy) -> bool:
    return len(given) == len(wanted) and all(map(partial(same, policy=policy), given, wanted))


# -- text


def _same_choices(given: Node, wanted: Node, policy: Policy) -> bool:
    """Compare a choice letter with content: by the letter, or by the content where the other has no letter."""
    if isinstance(given, Choice) and isinstance(wanted, Choice):
        return given.letter == wanted.letter and same(given.content, wanted.content, policy)
    choice, other = _kind_first(Choice, given, wanted)
    if isinstance(other, Symbol) and len(other.name) == 1 and other.name.isupper():
        return choice.letter == other.name
    return same(choice.content, other, policy)


def _same_words(given: Node, wanted: Node, policy: Policy) -> bool:
    """Compare texts; a few of them name a set or a number."""
    one, other = _text(given), _text(wanted)
    if one is not None and other is not None:
        is_folded = policy.case == "ignore" and len(one) > 1
        if one == other or (is_folded and one.casefold() == other.casefold()):
            return True
    if isinstance(given, Words) and isinstance(wanted, Words):
        return False
    meaning = _SYMBOLIC_WORDS.get(((one if isinstance(given, Words) else other) or "").casefold())
    return meaning is not None and same(meaning, wanted if isinstance(given, Words) else given, policy)


def _text(node: Node) -> str | None:
    """Return the text of words, the name of a symbol, or what may be a time of day."""
    if isinstance(node, Words):
        return node.text
    if isinstance(node, Ratio):
        wholes = [part.value for part in node.parts if isinstance(part, Number) and part.value.q == 1]
        return ":".join(f"{int(whole):02d}" for whole in wholes) if len(wholes) == len(node.parts) else None
    return SYNONYMS.get(node.name.casefold(), node.name) if isinstance(node, Symbol) else None


def _same_based(given: Node, wanted: Node, policy: Policy) -> bool:
    if given == wanted:
        return True
    if policy.bases == "as_written":
        return False
    return same(_in_base_ten(given), _in_base_ten(wanted), policy)


def _in_base_ten(node: Node) -> Node:
    return Number(fmpq(int(node.digits, node.base))) if isinstance(node, BasedNumber) else node


# -- relations


def _is_relation(node: Node) -> bool:
    if isinstance(node, Collection) and node.bracket in UNBRACKETED:
        return any(isinstance(item, Relation) for item in node.items)
    return isinstance(node, Relation)


def is_name(node: Node) -> bool:
    """Whether a side only names a value: a variable, a function, a text, a point with coordinates."""
    if isinstance(node, Symbol):
        return node.name not in {"pi", "e", "i", "infinity", "reals"}
    if isinstance(node, Collection):
        return bool(node.items) and all(is_name(item) for item in node.items)
    if isinstance(node, Call) and node.name == "abs":
        return is_name(node.arguments[0])
    return isinstance(node, Words)


def assigned_value(node: Node, policy: Policy) -> Node:
    """Return the value of an assignment whose sides all agree; anything else as it is."""
    if isinstance(node, Collection) and node.bracket in UNBRACKETED:
        return _assigned_values(node, policy)
    if not isinstance(node, Relation) or not set(node.signs) <= {"=", "approx", "in"}:
        return node
    sides = list(node.sides)
    if all(isinstance(side, Symbol) and side.name.isupper() for side in sides):
        return node  # "AB = CD" states that two segments are equal; it assigns nothing
    if is_name(sides[0]) and not symbols(sides[0]) & symbols(sides[-1]):
        del sides[0]
    elif is_name(sides[-1]) and len(sides) == 2 and node.signs == ("=",):
        del sides[-1]
    elif "in" in node.signs:
        return node
    signs = node.signs[len(node.signs) - len(sides) + 1 :]
    return sides[0] if all(map(partial(_continues, policy), sides, signs, sides[1:])) else node


def _continues(policy: Policy, left: Node, sign: str, right: Node) -> bool:
    """Whether the next side of a chain equals this one; after an approximate sign, to the digits it shows."""
    if sign == "approx":
        return same(left, right, replace(policy, decimal_digits=1))
    return sign == "=" and same(left, right, policy)


def _assigned_values(node: Collection, policy: Policy) -> Node:
    """Return what several assignments assign: to one variable a list, to several in alphabetical order a point."""
    heads = [item.sides[0] if isinstance(item, Relation) else None for item in node.items]
    values = [assigned_value(item, policy) for item in node.items]
    names = [head.name for head in heads if isinstance(head, Symbol)]
    if len(names) < len(heads) or any(isinstance(value, Relation) for value in values):
        return node
    if len({name.partition("_")[0] for name in names}) == 1:
        return Collection(node.bracket, tuple(values))
    return Collection("()", tuple(values)) if names == sorted(names) and len(set(names)) == len(names) else node


def _same_relations(given: Relation, wanted: Relation, policy: Policy) -> bool:
    """Compare two relations: as written, with sides exchanged, or multiplied by a constant."""
    if given.signs == wanted.signs and _all_same(given.sides, wanted.sides, policy):
        return True
    if set(given.signs) | set(wanted.signs) <= {"=", "approx"} and is_name(given.sides[0]) and is_name(wanted.sides[0]):
        one, other = assigned_value(given, policy), assigned_value(wanted, policy)
        if not isinstance(one, Relation) and not isinstance(other, Relation) and given.sides[0] == wanted.sides[0]:
            return same(one, other, policy)
    if len(given.signs) != 1 or len(wanted.signs) != 1:
        return _is_flipped(given, wanted, policy)
    return _is_scaled(given, wanted) or _is_flipped(given, wanted, policy)


def _is_flipped(given: Relation, wanted: Relation, policy: Policy) -> bool:
    """Whether a relation is the other read from right to left."""
    if not all(sign in REVERSED_SIGNS for sign in given.signs):
        return False
    flipped = tuple(REVERSED_SIGNS[sign] for sign in reversed(given.signs))
    return flipped == wanted.signs and _all_same(given.sides[::-1], wanted.sides, policy)


def _is_scaled(given: Relation, wanted: Relation) -> bool:
    """Whether two relations differ by a constant factor; a negative one reverses an inequality."""
    sign, other = given.signs[0], wanted.signs[0]
    if sign not in REVERSED_SIGNS or not (symbols(given) and symbols(wanted)):
        return False
    ratio = constant_ratio(_difference(given), _difference(wanted))
    if ratio is None:
        return False
    return (sign if ratio > 0 else REVERSED_SIGNS[sign]) == other


def _difference(node: Relation) -> Node:
    return Sum((node.sides[0], negated(node.sides[1])))


# -- several items


def _same_matrices(given: Node, wanted: Node, policy: Policy) -> bool:
    """Compare matrices; one row or one column also equals a tuple."""
    if isinstance(given, Matrix) and isinstance(wanted, Matrix):
        return len(given.rows) == len(wanted.rows) and all(
            map(partial(_all_same, policy=policy), given.rows, wanted.rows)
        )
    matrix, other = _kind_first(Matrix, given, wanted)
    if 1 not in {len(matrix.rows), len(matrix.rows[0])}:
        return False
    cells = tuple(cell for row in matrix.rows for cell in row)
    if isinstance(other, Collection) and other.bracket in {"()", "<>", "[]"}:
        return _all_same(cells, other.items, policy)
    return len(cells) == 1 and same(cells[0], other, policy)


def _same_collections(given: Node, wanted: Node, policy: Policy) -> bool:
    if not isinstance(given, Collection) or not isinstance(wanted, Collection):
        return _last_is_same(given, wanted, policy)
    if given.bracket == wanted.bracket == "{}":
        return _is_subset(given, wanted, policy) and _is_subset(wanted, given, policy)
    kinds = {given.bracket, wanted.bracket}
    if kinds <= UNBRACKETED | {"{}"}:
        if policy.lists == "in_order" and "{}" not in kinds:
            return _all_same(given.items, wanted.items, policy)
        return _match(given.items, wanted.items, policy)
    if policy.brackets == "ignore":
        return _all_same(given.items, wanted.items, policy)
    is_plain_list = kinds <= {",", "[]"} and len(wanted.items) != 2
    kind, other = (_ANGLED_AS_ROUND.get(bracket, bracket) for bracket in (given.bracket, wanted.bracket))
    if kind == other or is_plain_list:
        return _all_same(given.items, wanted.items, policy)
    return _last_is_same(given, wanted, policy)


def _last_is_same(given: Node, wanted: Node, policy: Policy) -> bool:
    """Whether several answers were given, the last one is wanted, and the policy lets it count."""
    if policy.hedging != "last" or not isinstance(given, Collection) or given.bracket not in UNBRACKETED:
        return False
    return bool(given.items) and same(given.items[-1], wanted, policy)


def _is_subset(given: Collection, wanted: Collection, policy: Policy) -> bool:
    return all(any(same(one, other, policy) for other in wanted.items) for one in given.items)


def _match(given: tuple[Node, ...], wanted: tuple[Node, ...], policy: Policy) -> bool:
    if len(given) != len(wanted):
        return False
    rest = list(wanted)
    for one in given:
        found = next((at for at, other in enumerate(rest) if same(one, other, policy)), None)
        if found is None:
            return False
        del rest[found]
    return True


# -- ratios and quantities


def _same_ratios(given: Node, wanted: Node, policy: Policy) -> bool:
    """Compare ratios with each other, and a ratio of two numbers with a quotient."""
    if isinstance(given, Ratio) and isinstance(wanted, Ratio):
        if policy.ratios == "as_written" or len(given.parts) != len(wanted.parts):
            return _all_same(given.parts, wanted.parts, policy)
        return all(
            same_expressions(Product((a, wanted.parts[-1])), Product((b, given.parts[-1])), policy)
            for a, b in zip(given.parts, wanted.parts, strict=True)
        )
    ratio, other = _kind_first(Ratio, given, wanted)
    if policy.ratios == "as_written" or len(ratio.parts) != 2 or isinstance(other, Quantity):
        return False
    return same_expressions(quotient(*ratio.parts), other, policy)


def _same_quantities(given: Node, wanted: Node, policy: Policy) -> bool:
    if isinstance(given, Quantity) and isinstance(wanted, Quantity):
        return _same_measures(given, wanted, policy)
    quantity, plain = _kind_first(Quantity, given, wanted)
    if quantity.unit == PERCENT:
        as_value = policy.percent != "ignore_sign" and same(_as_fraction(quantity.value), plain, policy)
        return as_value or (policy.percent != "value" and same(quantity.value, plain, policy))
    if policy.units == "required" and quantity is wanted:
        return False
    radians = _in_radians(quantity)
    return same(quantity.value, plain, policy) or (radians is not None and same(radians, plain, policy))


def _same_measures(given: Quantity, wanted: Quantity, policy: Policy) -> bool:
    if policy.units == "ignore" and PERCENT not in {given.unit, wanted.unit}:
        return same(given.value, wanted.value, policy)
    if given.unit == wanted.unit:
        return same(given.value, wanted.value, policy)
    if given.unit.dimensions == wanted.unit.dimensions:
        is_decimal = isinstance(given.value, Number) and given.value.digits > 0
        kept, other = (given, wanted) if is_decimal else (wanted, given)
        return same(kept.value, _times(other.value, other.unit.factor / kept.unit.factor), policy)
    angle, wanted_angle = _in_radians(given), _in_radians(wanted)
    return angle is not None and wanted_angle is not None and same(angle, wanted_angle, policy)


def _times(value: Node, factor: fmpq) -> Node:
    return Number(value.value * factor) if isinstance(value, Number) else Product((Number(factor), value))


def _as_fraction(percentage: Node) -> Node:
    """Return a percentage as a number; one written in decimals has two decimal places more."""
    if isinstance(percentage, Number):
        return Number(percentage.value / 100, percentage.digits, percentage.places + 2)
    return Product((Number(PERCENT.factor), percentage))


def _in_radians(node: Quantity) -> Node | None:
    if node.unit.dimensions == (("half_turn", 1),):
        return Call("degrees", (node.value,))
    return node.value if node.unit.dimensions == (("radian", 1),) else None
