"""Normalize an answer before it is compared: both values of ±, merged assignments, matrices multiplied out."""

from collections.abc import Callable, Sequence
from typing import Final

from reasonrl_grading.nodes import (
    UNBRACKETED,
    Call,
    Collection,
    Matrix,
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

MAX_PRODUCT: Final = 512
"""Products of cells in one product of matrices."""


def normalized(node: Node, text: str) -> Node:
    """Return an answer with both values of ± listed, assignments merged, and matrices multiplied out.

    Args:
        node: the answer.
        text: what it was parsed from: it shows quickly which of these cannot occur.
    """
    if ("\\pm" in text or "\\mp" in text) and _changes_sign(node):
        node = _both_signs(node)
    match node:
        case Collection(bracket, items) if bracket in UNBRACKETED:
            return _merge_assignments(Collection(bracket, tuple(flat(items))))
        case Collection("[]", items) if _is_grid(items):
            return Matrix(tuple(item.items for item in items if isinstance(item, Collection)))
        case Product() | Sum() | Power() if "\\begin" in text:
            return matrix_value(node) or node
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


def _merge_assignments(node: Collection) -> Node:
    """Return ``x=1, x=2`` and ``x=1, 2`` as one assignment of a list."""
    first = node.items[0] if node.items else node
    if not isinstance(first, Relation) or first.signs != ("=",) or not isinstance(first.sides[0], Symbol):
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


def _is_grid(items: tuple[Node, ...]) -> bool:
    """Whether items are lists of one length, as in ``[[1,2],[3,4]]``."""
    widths = {len(item.items) if isinstance(item, Collection) and item.bracket == "[]" else 0 for item in items}
    return len(widths) == 1 and widths != {0}


def matrix_value(node: Node) -> Matrix | None:
    """Return the matrix that an expression of sums, products and transposes of matrices is, or None."""
    match node:
        case Matrix():
            return node
        case Power(Matrix(rows), Symbol("T" | "intercal")):
            return Matrix(tuple(zip(*rows, strict=True)))
        case Sum(terms):
            return _combined([matrix_value(term) for term in terms], _sum_of)
        case Product(factors):
            matrices = [matrix for factor in factors if (matrix := matrix_value(factor)) is not None]
            scalars = tuple(factor for factor in factors if matrix_value(factor) is None)
            product = _combined(list(matrices), _product_of)
            return product if product is None or not scalars else _scaled(product, scalars)
    return None


def _combined(matrices: Sequence[Matrix | None], combine: Callable[[Matrix, Matrix], Matrix | None]) -> Matrix | None:
    total = matrices[0] if matrices else None
    for matrix in matrices[1:]:
        if total is None or matrix is None:
            return None
        total = combine(total, matrix)
    return total


def _sum_of(one: Matrix, other: Matrix) -> Matrix | None:
    if (len(one.rows), len(one.rows[0])) != (len(other.rows), len(other.rows[0])):
        return None
    return Matrix(
        tuple(
            tuple(map(lambda a, b: Sum((a, b)), a_row, b_row))
            for a_row, b_row in zip(one.rows, other.rows, strict=True)
        )
    )


def _product_of(one: Matrix, other: Matrix) -> Matrix | None:
    if len(one.rows[0]) != len(other.rows) or len(one.rows) * len(other.rows) * len(other.rows[0]) > MAX_PRODUCT:
        return None
    columns = tuple(zip(*other.rows, strict=True))
    return Matrix(
        tuple(
            tuple(Sum(tuple(map(lambda a, b: Product((a, b)), row, column))) for column in columns) for row in one.rows
        )
    )


def _scaled(matrix: Matrix, scalars: tuple[Node, ...]) -> Matrix:
    return Matrix(tuple(tuple(Product((*scalars, cell)) for cell in row) for row in matrix.rows))
