"""The parse tree of an answer, as frozen data."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from flint import fmpq

from reasonrl_grading.units import Unit

Bracket: TypeAlias = Literal["()", "[]", "(]", "[)", "{}", "<>", ",", "or", "and", "mod", "system"]
"""How items are joined: by brackets, or bare by a comma or a word; ``mod`` joins a residue and its modulus; ``system``
joins relations that hold together, in no order: the lines of ``cases``, ``aligned``, ``gathered`` or ``array``."""


@dataclass(frozen=True, slots=True)
class Number:
    """A rational number."""

    value: fmpq
    digits: int = 0
    """Significant digits of a decimal as written; 0 for what is exact."""
    places: int = 0
    """Power of ten of a decimal's last digit, negated: 2 for ``0.25``."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable, a point, a constant such as ``pi``, or an expression that is only compared by its text."""

    name: str


@dataclass(frozen=True, slots=True)
class Sum:
    """Terms added."""

    terms: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Product:
    """Factors multiplied."""

    factors: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Power:
    """A base and its exponent; a quotient is a product with exponent -1."""

    base: "Node"
    exponent: "Node"


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments."""

    name: str
    arguments: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class PlusMinus:
    """A term with both signs; all in one expression change sign together."""

    body: "Node"
    first: int
    """Its sign in the first of the two values: 1 for ± and -1 for ∓."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Several items: a tuple, point, interval, set, or bare list."""

    bracket: Bracket
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of equal length, in brackets; ``Call("det", (matrix,))`` is a determinant, ``Call("norm", ...)`` a norm."""

    rows: tuple[tuple["Node", ...], ...]
    bars: tuple[int, ...] = ()
    """Columns before which a vertical line stands, counted from 0: ``(2,)`` for two columns augmented by others."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of an array without brackets that is neither a system nor a chain; equal only to the same table."""

    rows: tuple[tuple["Node", ...], ...]
    bars: tuple[int, ...] = ()
    """Columns before which a vertical line stands, as in a `Matrix`."""


@dataclass(frozen=True, slots=True)
class Piecewise:
    """A function by cases: values, each with the condition under which it holds."""

    branches: tuple[tuple["Node", "Node | None"], ...]
    """Value and condition, in the written order; None for ``otherwise``, at most once and last. A condition is a
    `Relation`, a `Collection` of relations joined by ``,``, ``and`` or ``or``, or `Words` such as ``n is even``."""


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides with signs between them: ``1 < x <= 3`` has three sides."""

    sides: tuple["Node", ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetExpression:
    """Sets joined by ``cup``, ``cap`` or ``setminus``, from left to right."""

    sign: str
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with a unit."""

    value: "Node"
    unit: Unit


@dataclass(frozen=True, slots=True)
class Ratio:
    """Numbers in proportion: ``3:4``."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Clock:
    """A time on the clock: ``7:45``, ``12:30 PM``, ``3 p.m.``, ``1:02:03``; never a proportion."""

    hour: int
    """On the 24-hour clock, 0 to 24, where a period is written, else as written."""
    minute: int
    second: int | None = None
    """None where none is written."""
    period: Literal["am", "pm", ""] = ""
    """As written; empty where none is."""


@dataclass(frozen=True, slots=True)
class BasedNumber:
    """Digits with the base written after them."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice letter with the content after it: ``(A) 5``."""

    letter: str
    content: "Node"


@dataclass(frozen=True, slots=True)
class Words:
    """Text, in the form in which it is compared."""

    text: str


Node: TypeAlias = (
    Number
    | Symbol
    | Sum
    | Product
    | Power
    | Call
    | PlusMinus
    | Collection
    | Matrix
    | Table
    | Piecewise
    | Relation
    | SetExpression
    | Quantity
    | Ratio
    | Clock
    | BasedNumber
    | Choice
    | Words
)
"""Everything that an answer can be."""

PI = Symbol("pi")
EULER = Symbol("e")
IMAGINARY = Symbol("i")
INFINITY = Symbol("infinity")
REALS = Symbol("reals")
"""The constants among the symbols."""

UNBRACKETED = frozenset({",", "or", "and"})
"""What joins the items of a list without brackets."""

REVERSED_SIGNS = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
"""Each sign of a relation, and the sign of the relation read from right to left."""

ONE = Number(fmpq(1))
MINUS_ONE = Number(fmpq(-1))


def negated(node: Node) -> Node:
    """Return the negation; that of a number is a number."""
    if isinstance(node, Number):
        return Number(-node.value, node.digits, node.places)
    return Product((MINUS_ONE, node))


def quotient(top: Node, bottom: Node) -> Node:
    """Return the quotient; that of exact numbers is a number."""
    if isinstance(top, Number) and isinstance(bottom, Number) and not (top.digits or bottom.digits) and bottom.value:
        return Number(top.value / bottom.value)
    return Product((top, Power(bottom, MINUS_ONE)))


class ParseError(Exception):
    """A text does not follow the grammar or exceeds a limit; never leaves this package."""
