"""Work out sums, products, powers, inverses and transposes of matrices."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Final, TypeAlias

from flint import fmpq, fmpq_mat

from reasonrl_grading.nodes import (
    MINUS_ONE,
    ONE,
    Call,
    Collection,
    Matrix,
    Node,
    Number,
    Power,
    Product,
    Relation,
    Sum,
    Symbol,
)

MAX_PRODUCT: Final = 512
"""Products of cells in one product of matrices."""

MAX_POWER: Final = 100
"""Exponent of a matrix of numbers."""

MAX_SYMBOLIC_POWER: Final = 4
"""Exponent of a matrix with other cells."""

MAX_SYMBOLIC_INVERSE: Final = 4
"""Rows of a matrix with other cells whose inverse is worked out."""

Combine: TypeAlias = Callable[[Matrix, Matrix], Matrix | None]

_TRANSPOSES = frozenset({"T", "t", "intercal", "top", "mathsf T"})


def worked_out(node: Node) -> Node:
    """Return an answer with each part that is an expression of matrices as one matrix."""
    match node:
        case Sum() | Product() | Power():
            return matrix_of(node) or node
        case Relation(sides, signs):
            return Relation(tuple(map(worked_out, sides)), signs)
        case Collection(bracket, items):
            return Collection(bracket, tuple(map(worked_out, items)))
    return node


def matrix_of(node: Node) -> Matrix | None:
    """Return the matrix that an expression is, or None where it is none or cannot be worked out."""
    match node:
        case Matrix():
            return None if node.bars else node
        case Power(base, Symbol(name)) if name in _TRANSPOSES:
            matrix = matrix_of(base)
            return matrix and Matrix(tuple(zip(*matrix.rows, strict=True)))
        case Power(base, Number(exponent)) if exponent.q == 1:
            matrix = matrix_of(base)
            return matrix and _power(matrix, int(exponent.p))
        case Sum(terms):
            return _combined([matrix_of(term) for term in terms], _sum)
        case Product(factors):
            return _of_product(factors)
    return None


def _of_product(factors: tuple[Node, ...]) -> Matrix | None:
    """Return the product of matrices in their order, multiplied by the factors that are none."""
    matrices = [matrix_of(factor) for factor in factors]
    scalars = [factor for factor, matrix in zip(factors, matrices, strict=True) if matrix is None]
    product = _combined([matrix for matrix in matrices if matrix is not None], _product)
    if product is None or any(map(_has_matrix, scalars)):
        return None
    return Matrix(tuple(tuple(_times((*scalars, cell)) for cell in row) for row in product.rows))


def _has_matrix(node: Node) -> bool:
    match node:
        case Matrix():
            return True
        case Sum(inner) | Product(inner):
            return any(map(_has_matrix, inner))
        case Power(base, _):
            return _has_matrix(base)
    return False


def _combined(matrices: Sequence[Matrix | None], combine: Combine) -> Matrix | None:
    total = matrices[0] if matrices else None
    for matrix in matrices[1:]:
        if total is None or matrix is None:
            return None
        total = combine(total, matrix)
    return total


def _sum(one: Matrix, other: Matrix) -> Matrix | None:
    if (len(one.rows), len(one.rows[0])) != (len(other.rows), len(other.rows[0])):
        return None
    rows = zip(one.rows, other.rows, strict=True)
    return Matrix(tuple(tuple(_added(pair) for pair in zip(*both, strict=True)) for both in rows))


def _product(one: Matrix, other: Matrix) -> Matrix | None:
    if len(one.rows[0]) != len(other.rows) or len(one.rows) * len(other.rows) * len(other.rows[0]) > MAX_PRODUCT:
        return None
    columns = tuple(zip(*other.rows, strict=True))
    return Matrix(tuple(tuple(_dot(row, column) for column in columns) for row in one.rows))


def _dot(row: tuple[Node, ...], column: tuple[Node, ...]) -> Node:
    return _added([_times(pair) for pair in zip(row, column, strict=True)])


def _power(matrix: Matrix, exponent: int) -> Matrix | None:
    if len(matrix.rows) != len(matrix.rows[0]):
        return None
    if exponent < 0:
        inverse = _inverse(matrix)
        return inverse and _power(inverse, -exponent)
    if exponent > (MAX_SYMBOLIC_POWER if _numbers(matrix) is None else MAX_POWER):
        return None
    return _combined([matrix] * exponent, _product) if exponent else _identity(len(matrix.rows))


def _identity(size: int) -> Matrix:
    return Matrix(tuple(tuple(Number(fmpq(row == column)) for column in range(size)) for row in range(size)))


def _inverse(matrix: Matrix) -> Matrix | None:
    """Return the inverse, exactly for numbers, else by minors; None where it does not exist."""
    numbers, size = _numbers(matrix), len(matrix.rows)
    if numbers is not None:
        if numbers.det() == 0:
            return None
        return Matrix(tuple(tuple(map(Number, row)) for row in numbers.inv().tolist()))
    if size > MAX_SYMBOLIC_INVERSE:
        return None
    over = Power(Call("det", (matrix,)), MINUS_ONE)
    return Matrix(
        tuple(tuple(_times((_cofactor(matrix, column, row), over)) for column in range(size)) for row in range(size))
    )


def _cofactor(matrix: Matrix, row: int, column: int) -> Node:
    rows = [cells[:column] + cells[column + 1 :] for at, cells in enumerate(matrix.rows) if at != row]
    minor: Node = Call("det", (Matrix(tuple(rows)),)) if rows else ONE
    return _times((MINUS_ONE, minor)) if (row + column) % 2 else minor


def _numbers(matrix: Matrix) -> fmpq_mat | None:
    """Return a matrix whose cells are all exact numbers, or None."""
    cells = [[cell.value for cell in row if isinstance(cell, Number) and not cell.digits] for row in matrix.rows]
    return fmpq_mat(cells) if all(len(row) == len(matrix.rows[0]) for row in cells) else None


def _added(terms: Sequence[Node]) -> Node:
    return reduce(_folded_sum, terms[1:], terms[0])


def _folded_sum(one: Node, other: Node) -> Node:
    match one, other:
        case Number(left, 0), Number(right, 0):
            return Number(left + right)
    return Sum((one, other))


def _times(factors: Sequence[Node]) -> Node:
    return reduce(_folded_product, factors[1:], factors[0])


def _folded_product(one: Node, other: Node) -> Node:
    match one, other:
        case Number(left, 0), Number(right, 0):
            return Number(left * right)
    return Product((one, other))
