r"""Read LaTeX environments: matrices, functions by cases, systems, chains of equalities in lines, tables.

Whatever stands in an environment is part of the tree, or the environment is not read at all. ``&`` separates cells
where it stands between two whole cells, and only aligns where a sign stands next to it, as in ``x &= 1``.
"""

import re
from itertools import pairwise
from typing import Final

from reasonrl_grading.nodes import Call, Collection, Matrix, Node, ParseError, Piecewise, Relation, Table, Words
from reasonrl_grading.source import RELATIONS, SIGN_KINDS, WORD_KINDS, ParseRange, TokenizedText, outside, tokenized
from reasonrl_grading.words import plain_words

MAX_CELLS: Final = 256
"""Cells of one environment."""

_MATRICES = frozenset({"matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "psmallmatrix", "bsmallmatrix"})
_FUNCTIONS = {"vmatrix": "det", "vsmallmatrix": "det", "Vmatrix": "norm", "Vsmallmatrix": "norm"}
_CASES = frozenset({"cases", "dcases", "rcases", "drcases"})
_LINE_NAMES = (
    "aligned align alignat alignedat flalign split gathered gather multline multlined eqnarray equation displaymath "
    "math IEEEeqnarray"
)
_LINES = frozenset(_LINE_NAMES.split())
_ARRAYS = frozenset({"array", "tabular"})
_OPERATORS = frozenset({"+", "-", "*", "/", "cdot", "times", "pm", "mp"})
_CONDITION = re.compile(r"(?:if|for|when|whenever|where|provided(?: that)?)\b\s*", re.IGNORECASE)
_OPENS_CONDITION = re.compile(r"(?:if|for|when|whenever|where|provided|otherwise|else|elsewhere)\b", re.IGNORECASE)
_OTHERWISE = re.compile(r"otherwise|else|elsewhere|in all other cases", re.IGNORECASE)
_TEXT = re.compile(r"\\(?:text[a-z]*|mathrm|mbox|rm)\s*\{([^{}]*)\}")
_WORD = re.compile(r"(?<!\\)\b[^\W\d_]{2,}")
_SPECIFICATION = re.compile(r"\\begin\s*\{[a-zA-Z]+\*?\}(?:\s*\[[a-z]\])?\s*[\[{](.*)[\]}]$", re.DOTALL)

Row = list[tuple[int, int]]


def read_environment(source: TokenizedText, start: int, depth: int, parse_range: ParseRange) -> Node:
    """Return what the environment that begins at a token is.

    Raises:
        ParseError: it is not known, or something in it cannot be read.
    """
    name = source.tokens[start].text[6:]
    close = source.closing[start]
    rows = _rows(source, start, close)
    if not rows or sum(map(len, rows)) > MAX_CELLS:
        raise ParseError
    if name in _MATRICES:
        return Matrix(_cells(source, rows, depth, parse_range), _bars(source.raw(start, start + 1)))
    if name in _FUNCTIONS:
        return Call(_FUNCTIONS[name], (Matrix(_cells(source, rows, depth, parse_range)),))
    reader = _Lines(source, depth, parse_range)
    if name in _CASES:
        return reader.cases(rows)
    if name in _ARRAYS and not any(reader.has_relation(row) for row in rows):
        return Table(_cells(source, rows, depth, parse_range), _bars(source.raw(start, start + 1)))
    if name not in _LINES | _ARRAYS:
        raise ParseError
    return reader.lines(rows)


def _rows(source: TokenizedText, start: int, close: int) -> list[Row]:
    """Return the cells of each row that is not empty, as ranges of tokens."""
    rows: list[Row] = [[]]
    first = start + 1
    for at in outside(source, start + 1, close):
        if source.tokens[at].text not in {"&", "\\\\"}:
            continue
        rows[-1].append((first, at))
        first = at + 1
        if source.tokens[at].text == "\\\\":
            rows.append([])
    rows[-1].append((first, close))
    return [row for row in rows if any(a < b for a, b in row)]


def _cells(source: TokenizedText, rows: list[Row], depth: int, parse_range: ParseRange) -> tuple[tuple[Node, ...], ...]:
    if len({len(row) for row in rows}) != 1:
        raise ParseError
    return tuple(tuple(_cell(source, a, b, depth, parse_range) for a, b in row) for row in rows)


def _cell(source: TokenizedText, start: int, stop: int, depth: int, parse_range: ParseRange) -> Node:
    """Parse a cell; one of words only, as in the head of a table, is text."""
    if start < stop and all(token.kind in WORD_KINDS for token in source.tokens[start:stop]):
        return Words(plain_words(source.raw(start, stop)))
    return parse_range(source, start, stop, depth + 1)


def _bars(beginning: str) -> tuple[int, ...]:
    r"""Return before which columns a vertical line stands: 2 for ``{cc|c}``."""
    parts = _SPECIFICATION.fullmatch(beginning)
    columns = re.sub(r"\{[^{}]*\}|[^lcr|]", "", parts[1]) if parts else ""
    total = len(columns.replace("|", ""))
    before = [len(columns[:at].replace("|", "")) for at, letter in enumerate(columns) if letter == "|"]
    return tuple(sorted({at for at in before if 0 < at < total}))


class _Lines:
    """Reads lines of statements, or of values with conditions; each line is read as a text of its own."""

    def __init__(self, source: TokenizedText, depth: int, parse_range: ParseRange) -> None:
        self._source, self._depth, self._parse_range = source, depth + 1, parse_range

    def has_relation(self, row: Row) -> bool:
        """Whether a sign of a relation stands in a row, in no bracket."""
        return any(self._relations(a, b) for a, b in row)

    def cases(self, rows: list[Row]) -> Node:
        """Return a function by cases, or the system that the lines are."""
        branches = [self._branch(self._parts(row)) for row in rows]
        if None in branches:
            return self.lines(rows)
        known = tuple(branch for branch in branches if branch is not None)
        if any(condition is None for _, condition in known[:-1]):
            raise ParseError
        return Piecewise(known)

    def lines(self, rows: list[Row]) -> Node:
        """Return the one statement that lines continue, or the system of several; a line of no relation is not read."""
        statements: list[str] = []
        for row in rows:
            parts = self._parts(row)
            if statements and self._continues(row):
                statements[-1] += " " + parts.pop(0)
            statements += parts
        nodes = [self._parse(_without_end(statement)) for statement in statements]
        if len(nodes) == 1:
            return nodes[0]
        relations = [one for node in nodes for one in _relations_of(node, {",", "and", "system"})]
        return Collection("system", tuple(relations))

    def _relations(self, start: int, stop: int) -> list[int]:
        tokens = self._source.tokens
        return [
            at
            for at in outside(self._source, start, stop)
            if tokens[at].text in RELATIONS and tokens[at].kind in SIGN_KINDS
        ]

    def _continues(self, row: Row) -> bool:
        """Whether a line goes on with the one before it: it begins with a sign, and states nothing of its own."""
        first = self._source.tokens[next(a for a, b in row if a < b)]
        if first.kind not in SIGN_KINDS:
            return False
        return first.text in RELATIONS or (first.text in _OPERATORS and not self.has_relation(row))

    def _parts(self, row: Row) -> list[str]:
        """Return the text of a row, divided at each ``&`` that does more than align."""
        cells = [(a, b) for a, b in row if a < b]
        parts = [self._source.raw(*cells[0])]
        for before, cell in pairwise(cells):
            text = self._source.raw(*cell)
            if self._only_aligns(before, cell):
                parts[-1] += " " + text
            else:
                parts.append(text)
        return parts

    def _only_aligns(self, before: tuple[int, int], cell: tuple[int, int]) -> bool:
        last, first = self._source.tokens[before[1] - 1], self._source.tokens[cell[0]]
        if last.kind in SIGN_KINDS and last.text in RELATIONS | _OPERATORS:
            return True
        if first.kind not in SIGN_KINDS or first.text not in RELATIONS | _OPERATORS:
            return False
        return first.text in RELATIONS or not (self._relations(*before) or self._relations(*cell))

    def _branch(self, parts: list[str]) -> tuple[Node, Node | None] | None:
        """Return a value and its condition, or None where a row is a statement."""
        if len(parts) == 1:
            parts = self._divided(parts[0])
        if len(parts) != 2:
            return None
        value = self._parse(_without_end(parts[0]))
        if isinstance(value, Relation):
            return None
        return value, self._condition(parts[1])

    def _divided(self, text: str) -> list[str]:
        """Divide a row before its condition: at a word such as ``if``, or at the only comma."""
        inner = tokenized(text)
        stop = len(inner.tokens)
        for at in outside(inner, 0, stop):
            token = inner.tokens[at]
            if at and token.kind in WORD_KINDS and _OPENS_CONDITION.match(token.text):
                return [inner.raw(0, at), inner.raw(at, stop)]
        commas = [at for at in outside(inner, 0, stop) if inner.tokens[at].text == ","]
        if len(commas) != 1 or commas[0] in {0, stop - 1}:
            return [text]
        return [inner.raw(0, commas[0]), inner.raw(commas[0] + 1, stop)]

    def _condition(self, text: str) -> Node | None:
        """Return a condition: relations or words; None for ``otherwise``."""
        text = _without_end(" ".join(_TEXT.sub(r" \1 ", text).split()).lstrip(", "))
        text = _CONDITION.sub("", text, count=1) if _CONDITION.match(text) else text
        if _OTHERWISE.fullmatch(text):
            return None
        try:
            node = self._parse(text)
        except ParseError:
            if not _WORD.search(text):
                raise
            return Words(plain_words(text))
        if isinstance(node, Collection):
            return Collection(node.bracket, _relations_of(node, {",", "and", "or"}))
        return _relations_of(node, set())[0]

    def _parse(self, text: str) -> Node:
        inner = tokenized(text)
        return self._parse_range(inner, 0, len(inner.tokens), self._depth)


def _without_end(text: str) -> str:
    return text.strip().rstrip(",;.").rstrip()


def _relations_of(node: Node, joined_by: set[str]) -> tuple[Node, ...]:
    """Return the relations that a line states: one, or several that are joined in one of these ways.

    Raises:
        ParseError: it states something else.
    """
    items = node.items if isinstance(node, Collection) and node.bracket in joined_by else (node,)
    if not items or not all(isinstance(item, Relation) for item in items):
        raise ParseError
    return items
