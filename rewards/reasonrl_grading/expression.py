r"""Parse an expression by recursive descent: sums of products of powers of atoms.

The number of tokens, the nesting and the digits of a number are limited before any work. The content of brackets is
handed back to the parser of whole answers, because it may be a list.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from flint import fmpq

from reasonrl_grading.nodes import (
    EULER,
    IMAGINARY,
    INFINITY,
    MINUS_ONE,
    ONE,
    PI,
    REALS,
    Call,
    Collection,
    Matrix,
    Node,
    Number,
    ParseError,
    PlusMinus,
    Power,
    Product,
    Relation,
    Sum,
    Symbol,
    negated,
    quotient,
)
from reasonrl_grading.numbers import read_number
from reasonrl_grading.tokens import Token

MAX_DEPTH: Final = 40
"""Deepest nesting of brackets, exponents and signs."""

MAX_DETERMINANT: Final = 4
"""Rows of a matrix whose determinant is expanded."""

MAX_CELLS: Final = 256
"""Cells of one matrix."""

_PLAIN_FUNCTIONS = "sin cos tan cot sec csc sinh cosh tanh coth sech csch ln log lg exp"
FUNCTIONS: Final[Mapping[str, str]] = {
    name: name for name in _PLAIN_FUNCTIONS.split()
} | {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "asin": "asin", "acos": "acos",
    "atan": "atan", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "asinh": "asinh", "arsinh": "asinh",
    "gcd": "gcd", "lcm": "lcm", "max": "max", "min": "min", "floor": "floor", "ceil": "ceil", "abs": "abs",
    "Gamma": "gamma", "cis": "cis",
}  # fmt: skip
_INVERSES = {"sin": "asin", "cos": "acos", "tan": "atan", "cot": "acot", "sinh": "asinh"}
_CONSTANTS: Mapping[str, Node] = {
    "pi": PI, "infty": INFINITY, "setR": REALS, "emptyset": Collection("{}", ()), "exponentialE": EULER,
}  # fmt: skip
_LETTERS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi "
    "chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar setZ setN setQ "
    "setC imath jmath"
)
_NAMES = frozenset(_LETTERS.split())
_ACCENT_NAMES = "overline bar vec hat tilde underline widetilde dot ddot overleftrightarrow"
_ACCENTS = frozenset(_ACCENT_NAMES.split())
_FENCES: Mapping[str, tuple[str, str]] = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil")}
_DERIVATIVE = re.compile(r"d(\^?[0-9])?[a-zA-Z]{0,2}d[a-zA-Z](\^?[0-9])?")
_POSTFIXES: Mapping[str, str] = {"!": "factorial", "°": "degrees", "%": "percent", "'": "prime"}
_NO_FACTORS = frozenset({"pm", "mp", "mod", "pmod", "to", "cup", "cap", "rfloor", "rceil", "rangle", "ldots"})
_OPAQUE = frozenset({"iint", "iiint", "oint", "lim", "prod", "sum", "partial", "nabla"})
_MATRICES = frozenset({"pmatrix", "bmatrix", "matrix", "Bmatrix", "array", "smallmatrix", "psmallmatrix"})
_CALLABLE = frozenset("fghFGHPQ")


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """An answer's tokens, and the position at which each bracket closes."""

    text: str
    tokens: list[Token]
    closing: dict[int, int]
    texts: frozenset[str]
    """The texts of all tokens: shows quickly what does not occur."""

    def canonical(self, start: int, stop: int) -> str:
        """Return tokens as text without layout."""
        return "".join(token.text for token in self.tokens[start:stop] if token.text not in {"{", "}"})

    def raw(self, start: int, stop: int) -> str:
        """Return tokens as they were written."""
        stop = min(stop, len(self.tokens))
        return self.text[self.tokens[start].start : self.tokens[stop - 1].end] if start < stop else ""


ParseRange = Callable[[TokenizedText, int, int, int], Node]
"""Parses tokens start to stop at a depth of nesting."""


def parse_expression(source: TokenizedText, start: int, stop: int, depth: int, parse_range: ParseRange) -> Node:
    """Parse tokens start to stop as one expression.

    Raises:
        ParseError: they are not an expression, or nest too deep.
    """
    return _Expression(source, start, stop, depth, parse_range).whole()


class _Expression:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, source: TokenizedText, start: int, stop: int, depth: int, parse_range: ParseRange) -> None:
        if depth > MAX_DEPTH:
            raise ParseError
        self._source, self._at, self._stop, self._depth, self._parse_range = source, start, stop, depth, parse_range
        self._bars = 0  # open bars of absolute values: inside one, a bar closes it

    def whole(self) -> Node:
        node = self._sum()
        if self._at < self._stop:
            raise ParseError
        return node

    # -- tokens

    def _peek(self, ahead: int = 0) -> Token | None:
        at = self._at + ahead
        return self._source.tokens[at] if at < self._stop else None

    def _sees(self, *texts: str, ahead: int = 0) -> bool:
        """Whether the next token is a sign or a command with one of these names."""
        token = self._peek(ahead)
        return token is not None and token.text in texts and token.kind in {"sign", "command"}

    def _take(self) -> Token:
        token = self._peek()
        if token is None:
            raise ParseError
        self._at += 1
        return token

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ParseError

    # -- grammar

    def _sum(self) -> Node:
        terms = [self._signed()]
        while self._sees("+", "-", "pm", "mp"):
            terms.append(self._signed())
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def _signed(self) -> Node:
        """Parse a product after any number of signs."""
        sign, changing = 1, 0
        while self._sees("+", "-", "pm", "mp"):
            text = self._take().text
            if text in {"pm", "mp"}:
                changing = 1 if text == "pm" else -1
            sign = -sign if text == "-" else sign
        node = self._product()
        node = node if sign == 1 else negated(node)
        return PlusMinus(node, changing) if changing else node

    def _product(self) -> Node:
        factors = [self._mixed() or self._power()]
        while self._at < self._stop:
            if self._sees("*", "cdot", "times"):
                self._at += 1
                factors.append(self._factor())
            elif self._sees("/"):
                self._at += 1
                self._divide(factors)
            elif self._starts_factor():
                factors.append(self._power())
            else:
                break
        return factors[0] if len(factors) == 1 else Product(tuple(factors))

    def _divide(self, factors: list[Node]) -> None:
        if len(factors) == 1:
            factors[0] = quotient(factors[0], self._factor())
        else:
            factors.append(Power(self._factor(), MINUS_ONE))

    def _factor(self) -> Node:
        """Parse a factor after a written operator; it may have a sign of its own."""
        sign = 1
        while self._sees("-", "+"):
            sign = -sign if self._take().text == "-" else sign
        node = self._power()
        return node if sign == 1 else negated(node)

    def _starts_factor(self) -> bool:
        """Whether the product continues although no operator is written."""
        token = self._peek()
        if token is None or token.kind in {"word", "text"}:
            return False
        if token.kind == "number":
            before = self._source.tokens[self._at - 1]
            return before.text == "i" or (before.kind == "sign" and before.text in {")", "}", "]", "!"})
        if token.kind == "sign":
            if token.text == "|":
                return not self._bars
            return token.text in {"(", "[", "{", "\\{"}
        if token.text == "vert":
            return not self._bars
        return token.kind == "symbol" or token.text not in _NO_FACTORS

    def _mixed(self) -> Node | None:
        r"""Parse a mixed number, ``2\frac13`` or ``2 1/3``, whose fraction is below 1."""
        first, second = self._peek(), self._peek(1)
        if first is None or second is None or first.kind != "number" or not first.text.isdigit():
            return None
        start = self._at
        if second.kind == "command" and second.text == "frac":
            self._at += 1
            part = self._postfix()
        elif second.kind == "number" and second.spaced and self._sees("/", ahead=2):
            self._at += 1
            part = read_number(self._source.raw(self._at, self._at + 3)) or ONE
            self._at += 3
        else:
            return None
        if isinstance(part, Number) and 0 < part.value < 1 and not self._sees("^", "**", "!"):
            return Number(int(first.text) + part.value)
        self._at = start
        return None

    def _power(self) -> Node:
        base = self._postfix()
        while self._sees("^", "**"):
            self._take()
            if self._sees("'"):
                self._take()
                base = Symbol(f"{_name(base)}'")
                continue
            base = Power(base, self._exponent())
            base = self._postfixed(base)
        return base

    def _exponent(self) -> Node:
        """Parse an exponent: a group, or one power after any number of signs."""
        self._deeper()
        sign = 1
        while self._sees("-", "+"):
            sign = -sign if self._take().text == "-" else sign
        node = self._group() if self._sees("{") else self._power()
        self._depth -= 1
        return node if sign == 1 else negated(node)

    def _postfix(self) -> Node:
        return self._postfixed(self._atom())

    def _postfixed(self, node: Node) -> Node:
        while (token := self._peek()) is not None and token.text in _POSTFIXES and token.kind == "sign":
            if token.text != "'":
                node = Call(_POSTFIXES[token.text], (node,))
            elif isinstance(node, Symbol):
                node = Symbol(node.name + "'")
            else:
                break
            self._at += 1
        return node

    def _group(self) -> Node:
        close = self._source.closing.get(self._at)
        if close is None or close >= self._stop:
            raise ParseError
        start, self._at = self._at, close + 1
        opening, closing = self._source.tokens[start].text, self._source.tokens[close].text
        return _bracketed(opening, closing, self._parse_range(self._source, start + 1, close, self._depth + 1))

    def _atom(self) -> Node:
        token = self._peek()
        if token is None:
            raise ParseError
        if token.kind == "number":
            return self._number()
        if token.kind == "symbol":
            return self._symbol()
        if token.kind == "sign" and token.text in {"(", "[", "{", "\\{"}:
            return self._group()
        if token.text in {"|", "vert", "\\|"}:
            return self._absolute(token.text)
        if token.kind == "command":
            return self._command()
        if token.kind == "text" and len(token.text) == 1 and token.text.isalpha():
            self._take()
            return Symbol(token.text)
        raise ParseError

    def _number(self) -> Node:
        token = self._take()
        number = read_number(token.text)
        if number is None:
            if not token.text.isdigit():
                raise ParseError
            number = Number(fmpq(int(token.text)))
        if self._sees("_"):
            raise ParseError
        return number

    def _symbol(self) -> Node:
        """Parse a symbol with its index; ``f(x)`` is one symbol."""
        start, token = self._at, self._take()
        name = token.text
        if name == "e":
            return EULER
        if name == "i" and not self._sees("_"):
            return IMAGINARY
        if self._sees("_"):
            self._take()
            name += "_" + self._argument_text()
        while self._sees("'"):
            name += self._take().text
        if name[0] in _CALLABLE and self._sees("(") and (close := self._source.closing.get(self._at)):
            self._at = close + 1
            return Symbol(self._source.canonical(start, self._at))
        return Symbol(name)

    def _argument_text(self) -> str:
        if self._sees("{"):
            start, self._at = self._at, self._source.closing.get(self._at, self._stop) + 1
            return self._source.canonical(start, min(self._at, self._stop))
        return self._take().text

    def _argument(self) -> Node:
        """Parse one LaTeX argument: a group or an atom."""
        if self._sees("{"):
            return self._group()
        self._deeper()
        node = self._postfix()
        self._depth -= 1
        return node

    def _absolute(self, bar: str) -> Node:
        self._take()
        self._deeper()
        self._bars += 1
        node = self._sum()
        self._bars -= 1
        self._depth -= 1
        if self._take().text != bar:
            raise ParseError
        return Call("abs", (node,))

    # -- commands

    def _command(self) -> Node:
        start, name = self._at, self._take().text
        if name in FUNCTIONS and not (name == "Gamma" and not self._sees("(")):
            return self._function(FUNCTIONS[name])
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name in _NAMES:
            self._at -= 1
            return self._symbol()
        if name in _FENCES:
            return self._fenced(*_FENCES[name])
        if name.startswith("begin "):
            return self._matrix(start, name[6:])
        if name == "int":
            return self._integral(start)
        if name in {"sum", "prod"}:
            return self._series(start, name)
        if name == "det":
            matrix = self._atom()
            if not isinstance(matrix, Matrix):
                raise ParseError
            return determinant(matrix.rows)
        if name in _OPAQUE:
            return self._opaque(start)
        return self._structure(start, name)

    def _structure(self, start: int, name: str) -> Node:
        if name == "frac":
            if self._sees("(") and not self._sees("{"):
                raise ParseError
            node = quotient(self._argument(), self._argument())
            derivative = self._source.canonical(start + 1, self._at)
            return Symbol(derivative) if _DERIVATIVE.fullmatch(derivative) else node
        if name == "binom":
            return Call("binomial", (self._argument(), self._argument()))
        if name in {"sqrt", "cbrt"}:
            return self._root(name)
        if name == "underline":
            return self._argument()
        if name in _ACCENTS:
            return Symbol(f"{name} {self._argument_text()}")
        if name in {"angle", "triangle", "measuredangle", "operatorname"}:
            return self._named(name)
        if name == "langle":
            return self._vector()
        raise ParseError

    def _named(self, name: str) -> Node:
        """Parse the points of an angle or a triangle; ``ABC`` and ``CBA`` are the same."""
        start = self._at
        if self._sees("{"):
            self._argument_text()
        while (token := self._peek()) is not None and token.kind == "symbol":
            self._take()
        points = self._source.canonical(start, self._at)
        if not points:
            raise ParseError
        return Symbol(f"{name} {min(points, points[::-1])}")

    def _vector(self) -> Node:
        close = self._source.closing.get(self._at - 1)
        if close is None or close >= self._stop:
            raise ParseError
        start, self._at = self._at, close + 1
        return _bracketed("<", ">", self._parse_range(self._source, start, close, self._depth + 1))

    def _root(self, name: str) -> Node:
        index: Node = Number(fmpq(3 if name == "cbrt" else 2))
        if self._sees("["):
            index = self._group()
            if isinstance(index, Collection):
                raise ParseError
        token = self._peek()
        if token is not None and token.kind == "number":
            body: Node = self._number()
        else:
            body = self._argument()
        return Call("root", (body, index))

    def _fenced(self, closing: str, name: str) -> Node:
        self._deeper()
        node = self._sum()
        self._depth -= 1
        if not self._sees(closing):
            raise ParseError
        self._take()
        return Call(name, (node,))

    def _function(self, name: str) -> Node:
        self._deeper()
        power: Node | None = None
        base: Node | None = None
        while self._sees("^", "_", "**"):
            if self._take().text == "_":
                base = self._argument()
            else:
                power = self._exponent()
        if power == MINUS_ONE and name in _INVERSES:
            name, power = _INVERSES[name], None
        node = _call(name, base, self._function_arguments())
        self._depth -= 1
        return node if power is None else Power(node, power)

    def _function_arguments(self) -> tuple[Node, ...]:
        r"""Parse arguments: a bracket, or factors up to the next sign or function, as in ``\sin 2x``."""
        if self._sees("(", "{"):
            node = self._group()
            return node.items if isinstance(node, Collection) else (node,)
        factors = [self._factor()]
        while self._starts_factor() and not self._starts_function() and not self._sees("("):
            factors.append(self._power())
        return (factors[0] if len(factors) == 1 else Product(tuple(factors)),)

    def _starts_function(self) -> bool:
        token = self._peek()
        return token is not None and token.kind == "command" and token.text in FUNCTIONS

    def _opaque(self, start: int) -> Node:
        """Take the rest as an expression that is only compared by its text."""
        self._at = self._stop
        return Symbol(self._source.canonical(start, self._stop))

    def _bounds(self) -> dict[str, tuple[int, int]]:
        bounds: dict[str, tuple[int, int]] = {}
        while self._sees("_", "^"):
            side, first = self._take().text, self._at
            self._argument_text()
            bounds[side] = (first, min(self._at, self._stop))
        return bounds

    def _series(self, start: int, name: str) -> Node:
        """Parse a sum or product over integers; one without plain bounds is only compared by its text."""
        bounds = self._bounds()
        if set(bounds) != {"_", "^"}:
            return self._opaque(start)
        low_start, low_stop = bounds["_"]
        tokens = self._source.tokens
        if low_stop - low_start < 5 or tokens[low_start + 1].kind != "symbol" or tokens[low_start + 2].text != "=":
            return self._opaque(start)
        low = self._parse_range(self._source, low_start + 3, low_stop - 1, self._depth + 1)
        high = self._parse_range(self._source, *bounds["^"], self._depth + 1)
        if high == INFINITY:
            return self._opaque(start)
        self._deeper()
        body = self._product()
        self._depth -= 1
        return Call(name, (body, Symbol(tokens[low_start + 1].text), low, high))

    def _integral(self, start: int) -> Node:
        """Parse an integral with finite bounds; any other is only compared by its text."""
        bounds, first = self._bounds(), self._at
        end = self._differential()
        if set(bounds) != {"_", "^"} or end is None:
            return self._opaque(start)
        low, high = (self._parse_range(self._source, *bounds[side], self._depth + 1) for side in ("_", "^"))
        if INFINITY in (low, high) or negated(INFINITY) in (low, high):
            return self._opaque(start)
        body = parse_expression(self._source, first, end, self._depth + 1, self._parse_range) if first < end else ONE
        self._at = end + 2
        return Call("integral", (body, Symbol(self._source.tokens[end + 1].text), low, high))

    def _differential(self) -> int | None:
        """Return the position of ``dx``, or None."""
        at, tokens = self._at, self._source.tokens
        while at < self._stop - 1:
            if tokens[at].text == "d" and tokens[at + 1].kind == "symbol":
                return at
            at = self._source.closing.get(at, at) + 1
        return None

    def _matrix(self, start: int, name: str) -> Node:
        close = self._source.closing.get(start)
        if name not in _MATRICES | {"vmatrix"} or close is None or close >= self._stop:
            raise ParseError
        self._at = close + 1
        rows: list[list[tuple[int, int]]] = [[]]
        at = first = start + 1
        while at <= close:
            text = self._source.tokens[at].text
            if text in {"&", "\\\\"} or at == close:
                rows[-1].append((first, at))
                first = at + 1
            if text == "\\\\":
                rows.append([])
            at = self._source.closing.get(at, at) + 1 if at < close else at + 1
        node = self._cells([row for row in rows if any(a < b for a, b in row)])
        return determinant(node.rows) if name == "vmatrix" else node

    def _cells(self, rows: list[list[tuple[int, int]]]) -> Matrix:
        widths = {len(row) for row in rows}
        if len(widths) != 1 or len(rows) * len(rows[0]) > MAX_CELLS:
            raise ParseError
        return Matrix(
            tuple(tuple(self._parse_range(self._source, a, b, self._depth + 1) for a, b in row) for row in rows)
        )


def determinant(rows: tuple[tuple[Node, ...], ...]) -> Node:
    """Return the determinant of a small matrix, expanded along its first row."""
    if len(rows) != len(rows[0]) or len(rows) > MAX_DETERMINANT:
        raise ParseError
    if len(rows) == 1:
        return rows[0][0]
    terms = []
    for at, cell in enumerate(rows[0]):
        minor = determinant(tuple(row[:at] + row[at + 1 :] for row in rows[1:]))
        terms.append(Product((negated(cell) if at % 2 else cell, minor)))
    return Sum(tuple(terms))


def _name(node: Node) -> str:
    if not isinstance(node, Symbol):
        raise ParseError
    return node.name


def _call(name: str, base: Node | None, arguments: tuple[Node, ...]) -> Node:
    if base is not None and name != "log":
        raise ParseError
    if name == "lg":
        return Call("log", (*arguments, Number(fmpq(10))))
    if name == "log" and base is not None:
        return Call("log", (*arguments, base))
    if name == "exp" and len(arguments) == 1:
        return Power(EULER, arguments[0])
    return Call(name, arguments)


def _is_condition(node: Collection) -> bool:
    """Whether the inside of set braces was parsed as the condition of a set-builder."""
    is_relation = any(isinstance(item, Relation) for item in node.items)
    return node.bracket in {"and", "or"} or (node.bracket == "{}" and is_relation)


def _bracketed(opening: str, closing: str, node: Node) -> Node:
    """Return what a bracket means: a collection of several items, else its content."""
    is_list = isinstance(node, Collection) and node.bracket == ","
    if opening == "\\{":
        if isinstance(node, Collection) and (is_list or _is_condition(node)):
            return Collection("{}", node.items) if is_list else node
        return Collection("{}", (node,))
    if not is_list:
        if opening == "[" and closing == "]" and isinstance(node, Collection) and node.bracket == "[]":
            return Collection("[]", (node,))
        if opening in {"(", "{", "["} and not (opening == "[" and closing == ")"):
            return node
        raise ParseError
    assert isinstance(node, Collection)
    brackets: Mapping[str, str] = {"()": "()", "[]": "[]", "(]": "(]", "[)": "[)", "<>": "<>", "{}": "{}"}
    bracket = brackets.get(opening + closing)
    if bracket is None:
        raise ParseError
    return Collection(bracket, node.items)  # type: ignore[arg-type]  # the keys above are the brackets
