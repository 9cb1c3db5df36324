"""Normalize an answer before it is compared: both values of ±, merged assignments."""

from collections.abc import Sequence

from reasonrl_grading.nodes import (
    UNBRACKETED,
    Call,
    Collection,
    Node,
    PlusMinus,
    Power,
    Product,
    Quantity,
    Relation,
    Sum,
    Symbol,
    negated,
)


def normalized(node: Node, text: str) -> Node:
    """Return an answer with both values of ± listed and assignments merged.

    Args:
        node: the answer.
        text: what it was parsed from: it shows quickly which of these cannot occur.
    """
    if ("\\pm" in text or "\\mp" in text) and _changes_sign(node):
        node = _both_signs(node)
    match node:
        case Collection(bracket, items) if bracket in UNBRACKETED:
            return _merge_assignments(Collection(bracket, tuple(flat(items))))
        case Relation(sides, signs):
            return Relation(tuple(normalized(side, text) for side in sides), signs)
    return node


def _changes_sign(node: Node) -> bool:
    if isinstance(node, PlusMinus):
        return True
    match node:
        case Sum(inner) | Product(inner) | Collection(_, inner) | Relation(inner, _) | Call(_, inner):
            return any(_changes_sign(part) for part in inner)
        case Power(base, exponent):
            return _changes_sign(base) or _changes_sign(exponent)
        case Quantity(value, _):
            return _changes_sign(value)
    return False


def _both_signs(node: Node) -> Node:
    """Return an answer with ± as a list of both values; a relation keeps its first side, a list its items."""
    match node:
        case Collection(bracket, items) if bracket in UNBRACKETED or bracket == "{}":
            return Collection(
                bracket, tuple(flat(tuple(_both_signs(item) if _changes_sign(item) else item for item in items)))
            )
        case Relation((head, side), signs) if not _changes_sign(head):
            return Relation((head, _both_signs(side)), signs)
    return Collection(",", (_with_sign(node, 1), _with_sign(node, -1)))


def _with_sign(node: Node, sign: int) -> Node:
    match node:
        case PlusMinus(body, first):
            inner = _with_sign(body, sign)
            return inner if sign == first else negated(inner)
        case Sum(inner):
            return Sum(tuple(_with_sign(part, sign) for part in inner))
        case Product(inner):
            return Product(tuple(_with_sign(part, sign) for part in inner))
        case Call(name, inner):
            return Call(name, tuple(_with_sign(part, sign) for part in inner))
        case Power(base, exponent):
            return Power(_with_sign(base, sign), _with_sign(exponent, sign))
        case Collection(bracket, inner):
            return Collection(bracket, tuple(_with_sign(part, sign) for part in inner))
        case Relation(inner, signs):
            return Relation(tuple(_with_sign(part, sign) for part in inner), signs)
        case Quantity(value, unit):
            return Quantity(_with_sign(value, sign), unit)
    return node


def flat(items: Sequence[Node]) -> list[Node]:
    """Return items with the items of bare lists among them in place of those lists."""
    return [
        one
        for item in items
        for one in (item.items if isinstance(item, Collection) and item.bracket == "," else (item,))
    ]


def _is_head(node: Node) -> bool:
    """Whether a side is a variable, or a point of variables: ``(x,y) = (2,3), (3,2)``."""
    if isinstance(node, Collection) and node.bracket == "()":
        return bool(node.items) and all(isinstance(item, Symbol) for item in node.items)
    return isinstance(node, Symbol)


def _merge_assignments(node: Collection) -> Node:
    """Return ``x=1, x=2`` and ``x=1, 2`` as one assignment of a list."""
    first = node.items[0] if node.items else node
    if not isinstance(first, Relation) or first.signs != ("=",) or not _is_head(first.sides[0]):
        return node
    head = first.sides[0]
    values: list[Node] = []
    for item in node.items:
        if isinstance(item, Relation):
            if item.signs != ("=",) or item.sides[0] != head:
                return node
            values += flat((item.sides[1],))
        else:
            values.append(item)
    return Relation((head, Collection(",", tuple(values))), ("=",))
