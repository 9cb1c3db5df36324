"""Where each token of a completion ends in its text."""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

from reasonrl.learner.token_rewards import Decode, common_length
from reasonrl.types import Trajectory

MAX_PARTS: Final = 8
"""Tokens that may make up one character before all are decoded from the start."""

INCOMPLETE: Final = "\N{REPLACEMENT CHARACTER}"
"""What the first bytes of a character decode to."""


class TokenEnds:
    """Finds where tokens end, by what they decode to.

    What a token adds to a text is decoded once for each token of the vocabulary that is met, and compared with the
    text. Where that does not account for the text, as with a tokenizer that cleans up what it decodes, all tokens up to
    each one are decoded instead: exact, and slow.

    Args:
        decode: from tokens to text, as texts of completions are made.
    """

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._pieces: dict[int, str] = {}

    def __call__(self, trajectory: Trajectory) -> tuple[int, ...]:
        """Return for each token of the last turn how many characters of the text are complete with it."""
        turn, text = trajectory.last_turn, trajectory.text
        token_ids = trajectory.token_ids[turn.start : turn.stop]
        return _Alignment(token_ids, text, self._decode, self._pieces).ends


class _Alignment:
    """Tokens beside their text."""

    def __init__(self, token_ids: Sequence[int], text: str, decode: Decode, pieces: dict[int, str]) -> None:
        self._token_ids, self._text, self._decode, self._pieces = token_ids, text, decode, pieces

    @cached_property
    def ends(self) -> tuple[int, ...]:
        ends, parts = list[int](), list[int]()
        for place, token in enumerate(self._token_ids):
            start = ends[-1] if ends else 0
            if start == len(self._text):  # what ended the completion is no part of its text
                ends.append(start)
                continue
            parts.append(token)
            piece = self._piece(parts, is_first=place + 1 == len(parts))
            if piece.endswith(INCOMPLETE) or not self._text.startswith(piece, start):
                if len(parts) > MAX_PARTS:
                    return self._exact()
                ends.append(start)
            else:
                ends.append(start + len(piece))
                parts = []
        return tuple(ends) if not parts and (not ends or ends[-1] == len(self._text)) else self._exact()

    def _piece(self, parts: list[int], *, is_first: bool) -> str:
        """Return what tokens add to a text: a tokenizer may drop the space that a text begins with."""
        if is_first or len(parts) > 1:
            return self._decode(parts)
        (token,) = parts
        if token not in self._pieces:
            self._pieces[token] = self._decode([token, token])[len(self._decode([token])) :]
        return self._pieces[token]

    def _exact(self) -> tuple[int, ...]:
        token_ids = list(self._token_ids)
        return tuple(
            common_length(self._decode(token_ids[:count]), self._text) for count in range(1, len(token_ids) + 1)
        )
