"""How much of a held-out text stands in one training text: shared word n-grams.

The score is that of Tulu 3 (arXiv:2411.15124): the share of a held-out text's tokens that lie in n-grams which the best
single training text has too, with n = 8. Two traps are avoided. A text of fewer than n tokens has no n-gram, so it is
looked up whole among the texts, lines and sentences of the training data. N-grams that many training texts share are
the wording of a template, not of a problem: they count for nothing, nor do the tokens that only they cover.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

NUM_WORDS: Final = 8
"""Tokens of an n-gram."""
MIN_WHOLE: Final = 3
"""Tokens that a shorter text has at least, to be looked up whole in longer training texts."""
MAX_TEXTS: Final = 20
"""Training texts that may share an n-gram of a problem; ``MAX_SHARE`` of them where that is more."""
MAX_SHARE: Final = 0.01

Gram: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cover:
    """The training text that has most of a held-out one."""

    train: int
    """Its index."""
    share: float
    """Share of the held-out text's own tokens, those of a template left out."""
    own_share: float = 1.0
    """Share of its own tokens among all of the held-out text's."""


class HeldoutTexts:
    """Held-out texts, to be compared with training texts that are given one after the other.

    Args:
        texts: the tokens of each.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        self._texts = texts
        self._numbers: dict[Gram, int] = {}
        self._places: list[list[tuple[int, int]]] = []
        self._short: dict[Gram, list[int]] = defaultdict(list)
        for index, tokens in enumerate(texts):
            self._add(index, tokens)
        self._counts = [0] * len(self._places)
        self._found: list[tuple[int, tuple[int, ...]]] = []
        self._whole: dict[int, Cover] = {}
        self._num_train = 0

    def _add(self, index: int, tokens: Sequence[str]) -> None:
        if MIN_WHOLE <= len(tokens) < NUM_WORDS:
            self._short[tuple(tokens)].append(index)
        for place, gram in enumerate(_grams(tokens)):
            number = self._numbers.setdefault(gram, len(self._places))
            if number == len(self._places):
                self._places.append([])
            self._places[number].append((index, place))

    def compare(self, train: int, tokens: Sequence[str], sentences: Sequence[Sequence[str]]) -> None:
        """Look for the n-grams of a training text, and for its sentences where held-out texts are short.

        Args:
            train: its index, which no other text has.
            tokens: its tokens.
            sentences: the tokens of its sentences and lines; empty unless ``has_short``.
        """
        numbers = {number for gram in _grams(tokens) if (number := self._numbers.get(gram)) is not None}
        for number in numbers:
            self._counts[number] += 1
        if numbers:
            self._found.append((train, tuple(numbers)))
        for sentence in sentences:
            for index in self._short.get(tuple(sentence), ()):
                self._whole.setdefault(index, Cover(train, 1.0))
        self._num_train += 1

    @property
    def has_short(self) -> bool:
        """Whether sentences of training texts are looked at."""
        return bool(self._short)

    def covers(self) -> dict[int, list[Cover]]:
        """Return the training texts that share n-grams with a held-out text, by its index, the best one first."""
        limit = max(MAX_TEXTS, MAX_SHARE * self._num_train)
        own = [
            count <= limit and len(places) <= limit for count, places in zip(self._counts, self._places, strict=True)
        ]
        shared = self._shared_places(own)
        tokens = {index: self._own_tokens(index, own) for index, _ in shared}
        found: dict[int, list[Cover]] = {index: [cover] for index, cover in self._whole.items()}
        for (index, train), places in shared.items():
            covered = _covered(places) & tokens[index]
            if covered:
                own_share = len(tokens[index]) / len(self._texts[index])
                found.setdefault(index, []).append(Cover(train, len(covered) / len(tokens[index]), own_share))
        for covers in found.values():
            covers.sort(key=lambda cover: (-cover.share, cover.train))
        return found

    def _shared_places(self, own: Sequence[bool]) -> dict[tuple[int, int], list[int]]:
        """Return the places of the n-grams that each pair of texts (held-out, training) shares."""
        shared: dict[tuple[int, int], list[int]] = defaultdict(list)
        for train, numbers in self._found:
            for number in (number for number in numbers if own[number]):
                for index, place in self._places[number]:
                    shared[index, train].append(place)
        return shared

    def _own_tokens(self, index: int, own: Sequence[bool]) -> set[int]:
        """Return the places of a text's tokens that no template covers."""
        tokens = self._texts[index]
        common = [place for place, gram in enumerate(_grams(tokens)) if not own[self._numbers[gram]]]
        return set(range(len(tokens))) - _covered(common)


def contains(container: Sequence[str], contained: Sequence[str]) -> bool:
    """Whether the members of one sequence, counted, are among those of another."""
    return not Counter(contained) - Counter(container)


def _grams(tokens: Sequence[str]) -> Iterator[Gram]:
    for start in range(len(tokens) - NUM_WORDS + 1):
        yield tuple(tokens[start : start + NUM_WORDS])


def _covered(places: Sequence[int]) -> set[int]:
    return {place + offset for place in places for offset in range(NUM_WORDS)}
