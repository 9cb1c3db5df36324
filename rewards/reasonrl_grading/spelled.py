"""Numbers in words: ``two hundred and five``, ``two thirds``, ``seventh``, and words that multiply a number."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from flint import fmpq

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL: Final[Mapping[str, int]] = {name: value for value, name in enumerate(_ONES.split())} | {
    name: 10 * value for value, name in enumerate(_TENS.split(), start=2)
}
SCALES: Final[Mapping[str, int]] = {
    "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
    "lakh": 10**5, "crore": 10**7,
}  # fmt: skip
_PLACES = "first second third fourth fifth sixth seventh eighth ninth tenth"
_ORDINALS: Mapping[str, int] = {name: value for value, name in enumerate(_PLACES.split(), start=1)}
_DENOMINATORS = (
    "third=3 fourth=4 fifth=5 sixth=6 seventh=7 eighth=8 ninth=9 tenth=10 eleventh=11 twelfth=12 thirteenth=13 "
    "fourteenth=14 fifteenth=15 sixteenth=16 seventeenth=17 eighteenth=18 nineteenth=19 twentieth=20 thirtieth=30 "
    "fortieth=40 fiftieth=50 sixtieth=60 seventieth=70 eightieth=80 ninetieth=90 hundredth=100 thousandth=1000 "
    "millionth=1000000 billionth=1000000000"
)
_ONE_PART: Mapping[str, int] = {"half": 2} | {
    name: int(size) for name, _, size in (entry.partition("=") for entry in _DENOMINATORS.split())
}
_SEVERAL_PARTS: Mapping[str, int] = {"halves": 2} | {f"{name}s": size for name, size in _ONE_PART.items() if size > 2}
_PARTS: Mapping[str, int] = {**_ONE_PART, **_SEVERAL_PARTS, "quarter": 4, "quarters": 4}
_MULTIPLES: Mapping[str, fmpq] = (
    {name: fmpq(size) for name, size in SCALES.items()}
    | {f"{name}s": fmpq(size) for name, size in SCALES.items()}
    | {name: fmpq(1, size) for name, size in _SEVERAL_PARTS.items()}
    | {"tens": fmpq(10), "permille": fmpq(1, 1000)}
)
_AND_A_PART = re.compile(
    rf"(?<![\w.,-])([0-9]+|{'|'.join(_SMALL)})\s+and\s+(?:a|one)[\s-]+(half|third|quarter|fourth|fifth)(?![a-zA-Z])",
    re.IGNORECASE,
)


def spelled_number(words: Sequence[str]) -> tuple[fmpq, int] | None:
    """Return the number that the first words spell and how many words that is, or None."""
    if words[:1] in (["minus"], ["negative"]):
        positive = spelled_number(words[1:])
        return None if positive is None else (-positive[0], positive[1] + 1)
    number = _SpelledNumber()
    for position, word in enumerate(words):
        if number.taken == position and number.take_part(word):
            return number.total, position + 1
        if word == "and" and number.taken == position and number.last in SCALES.values():
            continue
        if not number.take(word):
            break
        number.taken = position + 1
    return (number.total + number.current, number.taken) if number.taken else None


class _SpelledNumber:
    """Adds up the words of a number from left to right; ``five six`` and ``twenty eleven`` are not one number."""

    def __init__(self) -> None:
        self.total, self.current = fmpq(0), fmpq(0)
        self.taken = 0
        self.last: int | None = None
        self._limit = 10**15

    def take(self, word: str) -> bool:
        """Add or multiply by what a word names, where it may follow the word before it."""
        size = _SMALL.get(word)
        if size is not None:
            is_first = self.last is None or self.last in SCALES.values()
            if not (is_first or (self.last in range(20, 100, 10) and 0 < size < 10)):
                return False
            self.current += size
        elif (size := SCALES.get(word)) is None or not self._multiply(size):
            return False
        self.last = size
        return True

    def _multiply(self, size: int) -> bool:
        if size < 1000:
            if self.current >= 100 or self.last == 0:
                return False
            self.current = max(self.current, fmpq(1)) * size
            return True
        if size >= self._limit or (self.last in SCALES.values() and not self.current):
            return False
        self.total, self.current, self._limit = self.total + max(self.current, fmpq(1)) * size, fmpq(0), size
        return True

    def take_part(self, word: str) -> bool:
        """Divide the number by the part that a word names: ``two thirds``."""
        if word not in _PARTS or self.last is None or self.last in SCALES.values():
            return False
        self.total = (self.total + self.current) / _PARTS[word]
        return True


def with_part_as_fraction(text: str) -> str:
    """Return a text with ``2 and a half`` as ``2 1/2``."""
    return _AND_A_PART.sub(lambda found: f"{_SMALL.get(found[1].lower(), found[1])} 1/{_PARTS[found[2].lower()]}", text)


def multiple(word: str, is_one: bool) -> fmpq | None:
    """Return what a word after a number multiplies it by, or None: ``million``, ``thirds``; ``third`` after one."""
    size = _ONE_PART.get(word) if is_one else None
    return _MULTIPLES.get(word) if size is None else fmpq(1, size)


def is_part_or_scale(word: str) -> bool:
    """Whether a word names a part or a multiple of one, such as ``thirds`` and ``million``."""
    return word in _PARTS or word in _MULTIPLES or word in _ORDINALS


def ordinal(word: str) -> int | None:
    """Return the number of an ordinal such as ``seventh``."""
    return _ORDINALS.get(word)
