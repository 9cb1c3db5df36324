r"""Parse an expression by recursive descent: sums of products of powers of atoms.

The number of tokens, the nesting and the digits of a number are limited before any work. The content of brackets is
handed back to the parser of whole answers, because it may be a list.
"""

from flint import fmpq

from reasonrl_grading.brackets import between_bars, bracketed
from reasonrl_grading.commands import (
    ACCENTS,
    CALLABLE,
    CONSTANTS,
    DERIVATIVE,
    FENCES,
    FUNCTIONS,
    INVERSES,
    NAMES,
    NO_FACTORS,
    OPAQUE,
    POSTFIXES,
    called,
)
from reasonrl_grading.cursor import Cursor
from reasonrl_grading.environments import read_environment
from reasonrl_grading.nodes import (
    EULER,
    IMAGINARY,
    MINUS_ONE,
    ONE,
    Call,
    Collection,
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
from reasonrl_grading.source import ParseRange, TokenizedText
from reasonrl_grading.tokens import Token


def parse_expression(source: TokenizedText, start: int, stop: int, depth: int, parse_range: ParseRange) -> Node:
    """Parse tokens start to stop as one expression.

    Raises:
        ParseError: they are not an expression, or nest too deep.
    """
    return _Expression(source, start, stop, depth, parse_range).whole()


class _Expression(Cursor):
    """Recursive descent over the tokens of one expression."""

    def __init__(self, source: TokenizedText, start: int, stop: int, depth: int, parse_range: ParseRange) -> None:
        super().__init__(source, start, stop, depth)
        self._start, self._parse_range = start, parse_range
        self._exponent_end = self._group_end = -1  # where the last exponent, the last group that is no argument ended
        self._bars = 0  # open bars of absolute values: inside one, a bar closes it

    def whole(self) -> Node:
        node = self._sum()
        if self._at < self._stop:
            raise ParseError
        return node

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
            if text == "-" and self._sees("-") and not self._source.tokens[self._at].spaced:
                raise ParseError  # 5--7 is a range
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
            return self._number_may_follow(token)
        if token.kind == "sign":
            if token.text in {"|", "\\|"}:
                return not self._bars
            return token.text in {"(", "[", "\\{"} or (token.text == "{" and not self._joins_digits())
        if token.text == "vert":
            return not self._bars
        return token.kind == "symbol" or token.text not in NO_FACTORS

    def _number_may_follow(self, token: Token) -> bool:
        """Whether a number multiplies what stands before it: a bracket, an exponent; ``{5}3`` looks like 53."""
        before = self._source.tokens[self._at - 1]
        if before.text == "i" or (before.kind == "sign" and before.text in {")", "]", "!"}):
            return True
        return self._at != self._group_end and (before.text == "}" or (self._at == self._exponent_end and token.spaced))

    def _joins_digits(self) -> bool:
        """Whether a brace follows digits and begins with digits: ``1{0}`` looks like 10."""
        before, after = self._source.tokens[self._at - 1], self._peek(1)
        is_after_digits = before.kind == "number" or self._at == self._group_end
        return is_after_digits and self._at != self._exponent_end and after is not None and after.kind == "number"

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
        self._exponent_end = self._at
        self._depth -= 1
        return node if sign == 1 else negated(node)

    def _postfix(self) -> Node:
        return self._postfixed(self._atom())

    def _postfixed(self, node: Node) -> Node:
        while (token := self._peek()) is not None and token.text in POSTFIXES and token.kind == "sign":
            if token.text == "!" and self._sees("!", ahead=1):
                raise ParseError  # a double factorial
            if token.text != "'":
                node = Call(POSTFIXES[token.text], (node,))
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
        return bracketed(opening, closing, self._parse_range(self._source, start + 1, close, self._depth + 1))

    def _atom(self) -> Node:
        token = self._peek()
        if token is None:
            raise ParseError
        if token.kind == "number":
            return self._number()
        if token.kind == "symbol":
            return self._symbol()
        if token.kind == "sign" and token.text in {"(", "[", "{", "\\{"}:
            node = self._group()
            self._group_end = self._at if token.text == "{" else -1
            return node
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
        if name[0] in CALLABLE and self._sees("(") and (close := self._source.closing.get(self._at)):
            self._at = close + 1
            return Symbol(self._source.canonical(start, self._at))
        return Symbol(name)

    def _argument_text(self) -> str:
        if self._sees("{"):
            start, self._at = self._at, self._source.closing.get(self._at, self._stop) + 1
            return self._source.canonical(start + 1, min(self._at - 1, self._stop))
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
        return between_bars(node, bar)

    def _environment(self, start: int) -> Node:
        close = self._source.closing.get(start)
        if close is None or close >= self._stop:
            raise ParseError
        self._at = close + 1
        self._deeper()
        node = read_environment(self._source, start, self._depth, self._parse_range)
        self._depth -= 1
        if isinstance(node, Relation | Collection) and (start, self._at) != (self._start, self._stop):
            raise ParseError
        return node

    # -- commands

    def _command(self) -> Node:
        start, name = self._at, self._take().text
        if name in FUNCTIONS and not (name == "Gamma" and not self._sees("(")):
            return self._function(FUNCTIONS[name])
        if name in CONSTANTS:
            return CONSTANTS[name]
        if name in NAMES:
            self._at -= 1
            return self._symbol()
        if name in FENCES:
            return self._fenced(*FENCES[name])
        if name.startswith("begin "):
            return self._environment(start)
        if name == "int":
            return self._integral(start)
        if name in {"sum", "prod"}:
            return self._series(start, name)
        if name == "det":
            return Call("det", (self._argument(),))
        if name in OPAQUE:
            return self._opaque(start)
        return self._structure(start, name)

    def _structure(self, start: int, name: str) -> Node:
        if name == "frac":
            if self._sees("(") and not self._sees("{"):
                raise ParseError
            node = quotient(self._argument(), self._argument())
            derivative = self._source.canonical(start + 1, self._at).replace("{", "").replace("}", "")
            return Symbol(derivative) if DERIVATIVE.fullmatch(derivative) else node
        if name == "binom":
            return Call("binomial", (self._argument(), self._argument()))
        if name in {"sqrt", "cbrt"}:
            return self._root(name)
        if name == "underline":
            return self._argument()
        if name in ACCENTS:
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
        points = self._source.canonical(start, self._at).strip("{}")
        if not points:
            raise ParseError
        return Symbol(f"{name} {min(points, points[::-1])}")

    def _vector(self) -> Node:
        close = self._source.closing.get(self._at - 1)
        if close is None or close >= self._stop:
            raise ParseError
        start, self._at = self._at, close + 1
        return bracketed("<", ">", self._parse_range(self._source, start, close, self._depth + 1))

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
        if power == MINUS_ONE and name in INVERSES:
            name, power = INVERSES[name], None
        node = called(name, base, self._function_arguments())
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
        self._deeper()
        body = self._product()
        self._depth -= 1
        return Call(name, (body, Symbol(tokens[low_start + 1].text), low, high))

    def _integral(self, start: int) -> Node:
        """Parse an integral with bounds; any other is only compared by its text."""
        bounds, first = self._bounds(), self._at
        end = self._differential()
        if set(bounds) != {"_", "^"} or end is None:
            return self._opaque(start)
        low, high = (self._parse_range(self._source, *bounds[side], self._depth + 1) for side in ("_", "^"))
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


def _name(node: Node) -> str:
    if not isinstance(node, Symbol):
        raise ParseError
    return node.name
