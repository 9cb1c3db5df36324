"""Compare equations by values: linear systems in echelon form, single equations by a point that tells them apart."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise, product
from typing import Final

from flint import acb, arb, ctx, fmpq, fmpq_mat

from reasonrl_grading.algebra import PRECISION
from reasonrl_grading.balls import NoValueError, Value, ball, is_real
from reasonrl_grading.logic import Truth, every
from reasonrl_grading.nodes import Node, Relation, Sum, negated
from reasonrl_grading.points import NUM_POINTS, Point
from reasonrl_grading.values import evaluate, holds, symbols

MAX_VARIABLES: Final = 12
"""Unknowns of a linear system."""

CHECKED_POINTS: Final = (0, 5, 20)
"""Points at which a side must have the values of a linear function to be taken for one."""

WITNESS_POINTS: Final = (0, 5, 1, 2)
"""Points of all unknowns but one at which solutions of an equation are looked for."""

PLACES: Final = tuple(
    fmpq(*place)
    for place in ((-51, 2), (-7, 1), (-3, 1), (-3, 2), (-1, 3), (1, 3), (1, 1), (3, 2), (3, 1), (7, 1), (51, 2))
)
"""Values of the other unknown between which they are looked for."""

MAX_STEPS: Final = 200
"""Nodes visited in one evaluation of an equation of which solutions are looked for."""

BISECTIONS: Final = 40
"""Halvings of the distance between two places."""


def difference(node: Relation) -> Node:
    """Return the left side less the right one."""
    return Sum((node.sides[0], negated(node.sides[1])))


def same_solutions(one: Sequence[Relation], other: Sequence[Relation]) -> Truth:
    """Whether two systems of equations have the same solutions: decided for linear ones, disproved for some others."""
    variables = sorted({name for relation in (*one, *other) for name in symbols(relation)})
    with ctx.workprec(PRECISION):
        rows, other_rows = _linear_rows(one, variables), _linear_rows(other, variables)
        if rows is not None and other_rows is not None:
            return _reduced(rows) == _reduced(other_rows)
        is_single = len(one) == len(other) == 1 and _is_cheap(one[0]) and _is_cheap(other[0])
        if is_single and _is_told_apart(difference(one[0]), difference(other[0]), variables):
            return False
    return None


def _is_cheap(relation: Relation) -> bool:
    """Whether sides are evaluated fast enough to look for a solution step by step."""
    point = Point(0)
    for side in relation.sides:
        with suppress(NoValueError):
            evaluate(side, point)
    return point.steps <= MAX_STEPS


def _linear_rows(relations: Sequence[Relation], variables: Sequence[str]) -> fmpq_mat | None:
    """Return coefficients and right side of each equation, or None where one is not linear with rational numbers."""
    rows = [_linear_row(difference(relation), variables) for relation in relations]
    known = [row for row in rows if row is not None]
    return fmpq_mat(known) if known and len(known) == len(rows) else None


def _linear_row(node: Node, variables: Sequence[str]) -> list[fmpq] | None:
    if len(variables) > MAX_VARIABLES:
        return None
    corners = [_value(node, {name: fmpq(name == corner) for name in variables}) for corner in ("", *variables)]
    exact = [value for value in corners if isinstance(value, fmpq)]
    if len(exact) < len(corners):
        return None
    row = [value - exact[0] for value in exact[1:]]
    for index in CHECKED_POINTS:
        point = Point(index)
        places = [point[name] for name in variables]
        expected = sum((slope * place for slope, place in zip(row, places, strict=True)), exact[0])
        if _value(node, dict(zip(variables, places, strict=True))) != expected:
            return None
    return [*row, -exact[0]]


def _reduced(rows: fmpq_mat) -> list[list[fmpq]]:
    """Return the rows of the reduced echelon form that are not zero."""
    reduced, rank = rows.rref()
    return [list(row) for row in reduced.tolist()[:rank]]


def _value(node: Node, values: dict[str, Value]) -> Value | None:
    point = Point(0)
    point.update(values)
    try:
        return evaluate(node, point)
    except NoValueError:
        return None


def _is_told_apart(one: Node, other: Node, variables: Sequence[str]) -> bool:
    """Whether a real solution of one equation is certainly none of the other."""
    return any(
        (value := _value(against, solution)) is not None and not ball(value).contains(0)
        for equation, against in ((one, other), (other, one))
        for solution in _solutions(equation, variables)
    )


def _solutions(equation: Node, variables: Sequence[str]) -> Iterator[dict[str, Value]]:
    """Yield some real solutions of an equation, each as balls that contain one."""
    for index, variable in product(WITNESS_POINTS, variables):
        point = Point(index)
        values: dict[str, Value] = {name: point[name] for name in variables}
        for low, high in pairwise(PLACES):
            root = _root(equation, values, variable, low, high)
            if root is not None:
                yield values | {variable: root}


def _root(node: Node, values: dict[str, Value], variable: str, low: fmpq, high: fmpq) -> acb | None:
    """Return a ball between two places in which an expression certainly changes its sign, without a pole, or None."""

    def sign(at: Value) -> int:
        value = _value(node, values | {variable: at})
        real = None if value is None or not is_real(value) else ball(value).real
        return 0 if real is None else (real > 0) - (real < 0)

    below = sign(low)
    if below * sign(high) != -1:
        return None
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if sign(middle) == below else (low, middle)
    root = acb(arb((low + high) / 2, (high - low) / 2))
    is_certain = sign(low) * sign(high) == -1 and _value(node, values | {variable: root}) is not None
    return root if is_certain else None


def hold_differently(one: Sequence[Relation], other: Sequence[Relation]) -> bool:
    """Whether a point certainly satisfies one system of relations and not the other."""
    return any(
        _holds(one, index) is (not truth) for index in range(NUM_POINTS) if (truth := _holds(other, index)) is not None
    )


def _holds(relations: Sequence[Relation], index: int) -> Truth:
    try:
        return every([holds(relation, Point(index)) for relation in relations])
    except NoValueError:
        return None
