"""Text answers: their normalized form, spelled numbers, times of day."""

import re
from collections.abc import Mapping
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
}  # fmt: skip
_PLACES = "first second third fourth fifth sixth seventh eighth ninth tenth"
_ORDINALS: Mapping[str, int] = {name: value for value, name in enumerate(_PLACES.split(), start=1)}
_PARTS: Mapping[str, int] = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4,
    "fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "eighth": 8, "eighths": 8, "tenth": 10, "tenths": 10,
}  # fmt: skip
SYNONYMS: Mapping[str, str] = {
    "dne": "does not exist", "doesn't exist": "does not exist", "no solutions": "no solution",
    "no real solution": "no solution", "no real solutions": "no solution", "there are no solutions": "no solution",
    "all real number": "all real numbers", "all reals": "all real numbers", "real numbers": "all real numbers",
    "infinite solutions": "infinitely many", "infinitely many solutions": "infinitely many",
    "inf": "infinity", "positive infinity": "infinity",
}  # fmt: skip
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt)|mbox|emph|operatorname)\s*\{([^{}]*)\}")
_IGNORED = re.compile(r"[\"'`*{}$\\,;!?]|\.(?!\d)")
TIME = re.compile(r"(\d{1,2})(?::(\d{2}))?(:\d{2})?\s*([ap])\.?\s*m\.?", re.IGNORECASE)
CLOCK = re.compile(r"\d\d:\d\d(?::\d\d)?")
_ARTICLE = re.compile(r"(?:the|an?)\s+(?=\S)", re.IGNORECASE)


def plain_words(text: str) -> str:
    """Return a text without LaTeX, punctuation, repeated spaces and a leading article."""
    text = _TEXT.sub(r" \1 ", text)
    text = TIME.sub(_clock, text)
    text = re.sub(r"\s*-\s*", "-", text)
    text = " ".join(_IGNORED.sub(" ", text.replace("'s", "s")).split())
    if text[:1] == "(" and text[-1:] == ")" and text.count("(") == 1:
        text = text[1:-1].strip()
    text = _ARTICLE.sub("", text, count=1) if _ARTICLE.match(text) else text
    return SYNONYMS.get(text.casefold(), text)


def _clock(time: re.Match[str]) -> str:
    """Return a time of day on the 24-hour clock."""
    hour = int(time[1]) % 12 + (12 if time[4] in "pP" else 0)
    return f"{hour:02d}:{time[2] or '00'}{time[3] or ''}"


def spelled_number(words: list[str]) -> tuple[fmpq, int] | None:
    """Return the number that the first words spell and how many words that is, or None."""
    total, current, taken = 0, 0, 0
    for position, word in enumerate(words):
        value = _spelled_out(word)
        if value is None and position and word in _PARTS and words[position - 1] in _SMALL:
            return fmpq(total + current, _PARTS[word]), position + 1
        if word == "and" and taken and position + 1 < len(words) and _spelled_out(words[position + 1]) is not None:
            continue
        if value is None:
            break
        if word in SCALES and value >= 1000:
            total, current = total + max(current, 1) * value, 0
        elif word in SCALES:
            current = max(current, 1) * value
        else:
            current += value
        taken = position + 1
    return (fmpq(total + current), taken) if taken else None


def _spelled_out(word: str) -> int | None:
    if word in _SMALL:
        return _SMALL[word]
    return SCALES.get(word)


def ordinal(word: str) -> int | None:
    """Return the number of an ordinal such as ``seventh``."""
    return _ORDINALS.get(word)
