"""The tokens of an answer, where its brackets close, and how it is split at signs that are in no bracket."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from reasonrl_grading.nodes import Node, ParseError
from reasonrl_grading.tokens import Token, tokenize

MAX_DEPTH: Final = 40
"""Deepest nesting of brackets, exponents and signs."""

MAX_TOKENS: Final = 1500
"""Tokens beyond which an answer is not parsed."""

_RELATION_SIGNS = "= < > <= >= != in approx equiv sim notin cong perp parallel"
RELATIONS = frozenset(_RELATION_SIGNS.split())
"""Signs between the sides of a relation."""

SIGN_KINDS = frozenset({"sign", "command"})
WORD_KINDS = frozenset({"word", "text"})
"""Kinds of tokens."""

_LETTER_U_UNION = re.compile(r"[)\]}]\s*U\s*[(\[\\{]")
_OPENING = {"(": (")", "]"), "[": (")", "]"), "{": ("}",), "\\{": ("\\}",)}


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """An answer's tokens, and the position at which each bracket closes."""

    text: str
    tokens: list[Token]
    closing: dict[int, int]
    texts: frozenset[str]
    """The texts of all tokens: shows quickly what does not occur."""
    kinds: frozenset[str]
    """The kinds of all tokens, for the same."""

    def canonical(self, start: int, stop: int) -> str:
        """Return tokens as text without layout and without braces around a single token."""
        kept: list[Token] = []
        for at in range(start, stop):
            token = self.tokens[at]
            is_opening = token.text == "{" and self.closing.get(at) == at + 2
            is_closing = token.text == "}" and self.closing.get(at - 2) == at
            if not (is_opening or is_closing):
                kept.append(token)
        spaces = [" " if _run_together(*pair) else "" for pair in pairwise(kept)]
        return "".join(token.text + space for token, space in zip(kept, [*spaces, ""], strict=False))

    def raw(self, start: int, stop: int) -> str:
        """Return tokens as they were written."""
        stop = min(stop, len(self.tokens))
        return self.text[self.tokens[start].start : self.tokens[stop - 1].end] if start < stop else ""


def _run_together(before: Token, after: Token) -> bool:
    """Whether two tokens without a space between them would look like one."""
    is_symbol = "symbol" in {before.kind, after.kind} and "command" not in {before.kind, after.kind}
    return before.text[-1:].isalnum() and after.text[:1].isalnum() and not is_symbol


ParseRange = Callable[[TokenizedText, int, int, int], Node]
"""Parses tokens start to stop at a depth of nesting."""


def tokenized(text: str, is_formula: bool = False) -> TokenizedText:
    """Return the tokens of a cleaned text.

    Raises:
        ParseError: there are none, too many, or brackets that do not match.
    """
    tokens = tokenize(text, is_formula)
    if _LETTER_U_UNION.search(text):
        tokens = [token._replace(kind="command", text="cup") if token.text == "U" else token for token in tokens]
    if not tokens or len(tokens) > MAX_TOKENS:
        raise ParseError
    texts, kinds = frozenset([token.text for token in tokens]), frozenset([token.kind for token in tokens])
    return TokenizedText(text, tokens, _closing(tokens), texts, kinds)


def _closing(tokens: list[Token]) -> dict[int, int]:
    """Return the position at which each bracket closes; round and square ones may close each other."""
    closing: dict[int, int] = {}
    stack: list[tuple[int, tuple[str, ...]]] = []
    for at, token in enumerate(tokens):
        text = token.text
        if token.kind == "number" or token.kind == "symbol":
            continue
        if token.kind == "sign" and text in _OPENING:
            stack.append((at, _OPENING[text]))
        elif token.kind == "command" and (text == "langle" or text.startswith("begin ")):
            stack.append((at, ("rangle" if text == "langle" else "end " + text[6:],)))
        elif (token.kind == "sign" and text in {")", "]", "}", "\\}"}) or text == "rangle" or text.startswith("end "):
            if not stack or text not in stack[-1][1]:
                raise ParseError
            closing[stack.pop()[0]] = at
        if len(stack) > MAX_DEPTH:
            raise ParseError
    if stack:
        raise ParseError
    return closing


def outside(source: TokenizedText, start: int, stop: int) -> Iterator[int]:
    """Yield the positions of the tokens that are in no bracket."""
    at = start
    while at < stop:
        yield at
        at = source.closing.get(at, at) + 1


def split(
    source: TokenizedText, start: int, stop: int, signs: frozenset[str], kinds: frozenset[str] = SIGN_KINDS
) -> tuple[list[tuple[int, int]], list[str]]:
    """Return the ranges between signs that are in no bracket, and the signs."""
    if signs.isdisjoint(source.texts):
        return [(start, stop)], []
    ranges, found, first, at = [], [], start, start
    tokens, closing = source.tokens, source.closing
    while at < stop:
        token = tokens[at]
        if token.text in signs and token.kind in kinds:
            ranges.append((first, at))
            found.append(token.text)
            first = at + 1
        at = closing.get(at, at) + 1
    return [*ranges, (first, stop)], found
