r"""Read an expression from tokens by recursive descent: sums of products of powers of atoms.

Bounded before any work: the number of tokens, the nesting, the digits of a number. What stands in brackets is handed
back to the reader of whole answers, because it may be a list.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from flint import fmpq

from reasonrl.grading.nodes import (
    EULER,
    IMAGINARY,
    INFINITY,
    MINUS_ONE,
    ONE,
    PI,
    REALS,
    Call,
    Group,
    Matrix,
    Node,
    Number,
    PlusMinus,
    Power,
    Product,
    Relation,
    Sum,
    Symbol,
    UnreadableError,
    negated,
    quotient,
)
from reasonrl.grading.numbers import read_number
from reasonrl.grading.tokens import Token

MAX_DEPTH: Final = 40
"""Deepest nesting of brackets, exponents and signs."""

MAX_DETERMINANT: Final = 4
"""Most rows of a matrix whose determinant is taken."""

MAX_CELLS: Final = 256
"""Most cells of a matrix."""

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
    "pi": PI, "infty": INFINITY, "setR": REALS, "emptyset": Group("{}", ()), "exponentialE": EULER,
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
class Source:
    """An answer's tokens, and where each bracket closes."""

    text: str
    tokens: list[Token]
    closing: dict[int, int]
    texts: frozenset[str]
    """The texts of all tokens, to see at once what does not occur."""

    def canonical(self, start: int, stop: int) -> str:
        """Return a stretch of tokens as text without layout."""
        return "".join(token.text for token in self.tokens[start:stop] if token.text not in {"{", "}"})

    def raw(self, start: int, stop: int) -> str:
        """Return a stretch of tokens as it was written."""
        stop = min(stop, len(self.tokens))
        return self.text[self.tokens[start].start : self.tokens[stop - 1].end] if start < stop else ""


Inside = Callable[[Source, int, int, int], Node]
"""Reads what stands between two tokens at some depth."""


def read_expression(source: Source, start: int, stop: int, depth: int, inside: Inside) -> Node:
    """Return the expression between two tokens.

    Raises:
        UnreadableError: they are no expression, or nest too deep.
    """
    return _Expression(source, start, stop, depth, inside).whole()


class _Expression:
    """A position in the tokens of one expression."""

    def __init__(self, source: Source, start: int, stop: int, depth: int, inside: Inside) -> None:
        """Begin at the first token."""
        if depth > MAX_DEPTH:
            raise UnreadableError
        self._source, self._at, self._stop, self._depth, self._inside = source, start, stop, depth, inside
        self._bars = 0

    def whole(self) -> Node:
        """Read all tokens as one expression."""
        node = self._sum()
        if self._at < self._stop:
            raise UnreadableError
        return node

    # -- tokens

    def _peek(self, ahead: int = 0) -> Token | None:
        """Return a token without taking it."""
        at = self._at + ahead
        return self._source.tokens[at] if at < self._stop else None

    def _sees(self, *texts: str, ahead: int = 0) -> bool:
        """Whether the next token is a sign or a command of one of these names."""
        token = self._peek(ahead)
        return token is not None and token.text in texts and token.kind in {"sign", "command"}

    def _take(self) -> Token:
        """Take the next token."""
        token = self._peek()
        if token is None:
            raise UnreadableError
        self._at += 1
        return token

    def _deeper(self) -> None:
        """Go one level down."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UnreadableError

    # -- grammar

    def _sum(self) -> Node:
        """Read terms with signs between them."""
        terms = [self._signed()]
        while self._sees("+", "-", "pm", "mp"):
            terms.append(self._signed())
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def _signed(self) -> Node:
        """Read a product after any signs."""
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
        """Read factors, with or without signs between them."""
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
        """Divide what was read by the next factor."""
        if len(factors) == 1:
            factors[0] = quotient(factors[0], self._factor())
        else:
            factors.append(Power(self._factor(), MINUS_ONE))

    def _factor(self) -> Node:
        """Read a factor after a written sign; it may have a sign of its own."""
        sign = 1
        while self._sees("-", "+"):
            sign = -sign if self._take().text == "-" else sign
        node = self._power()
        return node if sign == 1 else negated(node)

    def _starts_factor(self) -> bool:
        """Whether the next token goes on with the product although no sign stands before it."""
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
        r"""Read a mixed number, ``2\frac13`` or ``2 1/3``, whose fraction is below 1."""
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
        """Read an atom with its exponents."""
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
        """Read an exponent: a group, or one power after any signs."""
        self._deeper()
        sign = 1
        while self._sees("-", "+"):
            sign = -sign if self._take().text == "-" else sign
        node = self._group() if self._sees("{") else self._power()
        self._depth -= 1
        return node if sign == 1 else negated(node)

    def _postfix(self) -> Node:
        """Read an atom and the signs that follow it."""
        return self._postfixed(self._atom())

    def _postfixed(self, node: Node) -> Node:
        """Read factorials, degree and percent signs, primes."""
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
        """Read a bracket and what stands in it."""
        close = self._source.closing.get(self._at)
        if close is None or close >= self._stop:
            raise UnreadableError
        start, self._at = self._at, close + 1
        opening, closing = self._source.tokens[start].text, self._source.tokens[close].text
        return _bracketed(opening, closing, self._inside(self._source, start + 1, close, self._depth + 1))

    def _atom(self) -> Node:
        """Read a number, symbol, bracket, root, fraction, or function with its argument."""
        token = self._peek()
        if token is None:
            raise UnreadableError
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
        raise UnreadableError

    def _number(self) -> Node:
        """Read a number, perhaps a repeating decimal."""
        token = self._take()
        number = read_number(token.text)
        if number is None:
            if not token.text.isdigit():
                raise UnreadableError
            number = Number(fmpq(int(token.text)))
        if self._sees("_"):
            raise UnreadableError
        return number

    def _symbol(self) -> Node:
        """Read a symbol with its index; ``f(x)`` is one symbol."""
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
        """Take one argument as text: an index."""
        if self._sees("{"):
            start, self._at = self._at, self._source.closing.get(self._at, self._stop) + 1
            return self._source.canonical(start, min(self._at, self._stop))
        return self._take().text

    def _argument(self) -> Node:
        r"""Read one LaTeX argument: a group or an atom."""
        if self._sees("{"):
            return self._group()
        self._deeper()
        node = self._postfix()
        self._depth -= 1
        return node

    def _absolute(self, bar: str) -> Node:
        """Read what stands between two bars."""
        self._take()
        self._deeper()
        self._bars += 1
        node = self._sum()
        self._bars -= 1
        self._depth -= 1
        if self._take().text != bar:
            raise UnreadableError
        return Call("abs", (node,))

    # -- commands

    def _command(self) -> Node:
        """Read a command and its arguments."""
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
                raise UnreadableError
            return determinant(matrix.rows)
        if name in _OPAQUE:
            return self._opaque(start)
        return self._structure(start, name)

    def _structure(self, start: int, name: str) -> Node:
        """Read a fraction, a root, a binomial, an accent, a vector, or an angle."""
        if name == "frac":
            if self._sees("(") and not self._sees("{"):
                raise UnreadableError
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
        raise UnreadableError

    def _named(self, name: str) -> Node:
        """Read the points of an angle or a triangle; an angle may be read from either end."""
        start = self._at
        if self._sees("{"):
            self._argument_text()
        while (token := self._peek()) is not None and token.kind == "symbol":
            self._take()
        points = self._source.canonical(start, self._at)
        if not points:
            raise UnreadableError
        return Symbol(f"{name} {min(points, points[::-1])}")

    def _vector(self) -> Node:
        """Read a vector in angle brackets."""
        close = self._source.closing.get(self._at - 1)
        if close is None or close >= self._stop:
            raise UnreadableError
        start, self._at = self._at, close + 1
        return _bracketed("<", ">", self._inside(self._source, start, close, self._depth + 1))

    def _root(self, name: str) -> Node:
        """Read a root and its index."""
        index: Node = Number(fmpq(3 if name == "cbrt" else 2))
        if self._sees("["):
            index = self._group()
            if isinstance(index, Group):
                raise UnreadableError
        token = self._peek()
        if token is not None and token.kind == "number":
            body: Node = self._number()
        else:
            body = self._argument()
        return Call("root", (body, index))

    def _fenced(self, closing: str, name: str) -> Node:
        """Read what stands between floor or ceiling signs."""
        self._deeper()
        node = self._sum()
        self._depth -= 1
        if not self._sees(closing):
            raise UnreadableError
        self._take()
        return Call(name, (node,))

    def _function(self, name: str) -> Node:
        """Read a function: its power, its base, its argument."""
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
        r"""Read arguments: a bracket, or factors up to the next sign or function, as in ``\sin 2x``."""
        if self._sees("(", "{"):
            node = self._group()
            return node.items if isinstance(node, Group) else (node,)
        factors = [self._factor()]
        while self._starts_factor() and not self._starts_function() and not self._sees("("):
            factors.append(self._power())
        return (factors[0] if len(factors) == 1 else Product(tuple(factors)),)

    def _starts_function(self) -> bool:
        """Whether the next token is a function's name."""
        token = self._peek()
        return token is not None and token.kind == "command" and token.text in FUNCTIONS

    def _opaque(self, start: int) -> Node:
        """Take the rest as an expression that is compared by its text only."""
        self._at = self._stop
        return Symbol(self._source.canonical(start, self._stop))

    def _bounds(self) -> dict[str, tuple[int, int]]:
        """Take the bounds of a sum or an integral, below and above."""
        bounds: dict[str, tuple[int, int]] = {}
        while self._sees("_", "^"):
            side, first = self._take().text, self._at
            self._argument_text()
            bounds[side] = (first, min(self._at, self._stop))
        return bounds

    def _series(self, start: int, name: str) -> Node:
        """Read a sum or product over whole numbers; one without plain bounds is compared by its text."""
        bounds = self._bounds()
        if set(bounds) != {"_", "^"}:
            return self._opaque(start)
        low_start, low_stop = bounds["_"]
        tokens = self._source.tokens
        if low_stop - low_start < 5 or tokens[low_start + 1].kind != "symbol" or tokens[low_start + 2].text != "=":
            return self._opaque(start)
        low = self._inside(self._source, low_start + 3, low_stop - 1, self._depth + 1)
        high = self._inside(self._source, *bounds["^"], self._depth + 1)
        if high == INFINITY:
            return self._opaque(start)
        self._deeper()
        body = self._product()
        self._depth -= 1
        return Call(name, (body, Symbol(tokens[low_start + 1].text), low, high))

    def _integral(self, start: int) -> Node:
        """Read an integral with finite bounds; any other is compared by its text."""
        bounds, first = self._bounds(), self._at
        end = self._differential()
        if set(bounds) != {"_", "^"} or end is None:
            return self._opaque(start)
        low, high = (self._inside(self._source, *bounds[side], self._depth + 1) for side in ("_", "^"))
        if INFINITY in (low, high) or negated(INFINITY) in (low, high):
            return self._opaque(start)
        body = read_expression(self._source, first, end, self._depth + 1, self._inside) if first < end else ONE
        self._at = end + 2
        return Call("integral", (body, Symbol(self._source.tokens[end + 1].text), low, high))

    def _differential(self) -> int | None:
        """Return where ``dx`` stands, or None."""
        at, tokens = self._at, self._source.tokens
        while at < self._stop - 1:
            if tokens[at].text == "d" and tokens[at + 1].kind == "symbol":
                return at
            at = self._source.closing.get(at, at) + 1
        return None

    def _matrix(self, start: int, name: str) -> Node:
        """Read a matrix up to its end."""
        close = self._source.closing.get(start)
        if name not in _MATRICES | {"vmatrix"} or close is None or close >= self._stop:
            raise UnreadableError
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
        """Read the cells of a matrix."""
        widths = {len(row) for row in rows}
        if len(widths) != 1 or len(rows) * len(rows[0]) > MAX_CELLS:
            raise UnreadableError
        return Matrix(tuple(tuple(self._inside(self._source, a, b, self._depth + 1) for a, b in row) for row in rows))


def determinant(rows: tuple[tuple[Node, ...], ...]) -> Node:
    """Return the determinant of a small matrix, expanded along its first row."""
    if len(rows) != len(rows[0]) or len(rows) > MAX_DETERMINANT:
        raise UnreadableError
    if len(rows) == 1:
        return rows[0][0]
    terms = []
    for at, cell in enumerate(rows[0]):
        minor = determinant(tuple(row[:at] + row[at + 1 :] for row in rows[1:]))
        terms.append(Product((negated(cell) if at % 2 else cell, minor)))
    return Sum(tuple(terms))


def _name(node: Node) -> str:
    """Return the name of a symbol."""
    if not isinstance(node, Symbol):
        raise UnreadableError
    return node.name


def _call(name: str, base: Node | None, arguments: tuple[Node, ...]) -> Node:
    """Return a call; logarithms carry their base."""
    if base is not None and name != "log":
        raise UnreadableError
    if name == "lg":
        return Call("log", (*arguments, Number(fmpq(10))))
    if name == "log" and base is not None:
        return Call("log", (*arguments, base))
    if name == "exp" and len(arguments) == 1:
        return Power(EULER, arguments[0])
    return Call(name, arguments)


def _is_condition(node: Group) -> bool:
    """Whether what stands in the braces of a set was read as its condition."""
    is_relation = any(isinstance(item, Relation) for item in node.items)
    return node.bracket in {"and", "or"} or (node.bracket == "{}" and is_relation)


def _bracketed(opening: str, closing: str, node: Node) -> Node:
    """Return what a bracket means: a group for several items, else what stands in it."""
    is_list = isinstance(node, Group) and node.bracket == ","
    if opening == "\\{":
        if isinstance(node, Group) and (is_list or _is_condition(node)):
            return Group("{}", node.items) if is_list else node
        return Group("{}", (node,))
    if not is_list:
        if opening == "[" and closing == "]" and isinstance(node, Group) and node.bracket == "[]":
            return Group("[]", (node,))
        if opening in {"(", "{", "["} and not (opening == "[" and closing == ")"):
            return node
        raise UnreadableError
    assert isinstance(node, Group)
    brackets: Mapping[str, str] = {"()": "()", "[]": "[]", "(]": "(]", "[)": "[)", "<>": "<>", "{}": "{}"}
    bracket = brackets.get(opening + closing)
    if bracket is None:
        raise UnreadableError
    return Group(bracket, node.items)  # type: ignore[arg-type]  # the keys above are the brackets
