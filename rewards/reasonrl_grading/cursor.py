"""A position in the tokens of an expression, and how deep it is nested."""

from reasonrl_grading.nodes import ParseError
from reasonrl_grading.source import MAX_DEPTH, SIGN_KINDS, TokenizedText
from reasonrl_grading.tokens import Token


class Cursor:
    """Reads tokens from left to right.

    Raises:
        ParseError: the tokens end too early, or nest too deep.
    """

    def __init__(self, source: TokenizedText, start: int, stop: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ParseError
        self._source, self._at, self._stop, self._depth = source, start, stop, depth

    def _peek(self, ahead: int = 0) -> Token | None:
        at = self._at + ahead
        return self._source.tokens[at] if at < self._stop else None

    def _sees(self, *texts: str, ahead: int = 0) -> bool:
        """Whether the next token is a sign or a command with one of these names."""
        at = self._at + ahead
        if at >= self._stop:
            return False
        token = self._source.tokens[at]
        return token.text in texts and token.kind in SIGN_KINDS

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
