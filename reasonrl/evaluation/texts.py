"""Texts as what they say: words, numbers in one spelling, and signs, so that only these decide whether texts are equal.

Left out: fractions, ordinals and roman numerals in words; ``a dozen`` is not 12. A comma followed by three digits
groups them, so ``1,000`` is 1000 even where it lists two numbers.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from reasonrl.types import Problem

SPELLINGS: Final = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u00d7\u2217\u22c5\u00b7", "*"),
        **dict.fromkeys("\u00f7\u2044\u2215", "/"),
        **dict.fromkeys("\u2018\u2019", "'"),
    }
)
"""Signs that are written in several ways: minus, times, divided by, apostrophe."""
RAISED: Final = {"<super>": "^", "<sub>": "_", "<fraction>": " "}
"""What to put before characters that NFKC would fuse with a neighbor: without it 10² becomes 102."""
TOKEN: Final = re.compile(
    r"""\d+(?:[.,:]\d+)*   # a number, its decimal point or the colon of a ratio included
    | \.\d+                # .5
    | [^\W\d]\w*           # a word or a variable
    | [^\s\w.,:;?"\u201c\u201d\u00ab\u00bb]  # signs, brackets, the ! of a factorial
    """,
    re.VERBOSE,
)
GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
PLAIN_NUMBER: Final = re.compile(r"\d*\.?\d+")
OPERATORS: Final = frozenset("+-*/^=<>!%")
"""Signs that change what is asked; brackets and markup do not."""
SENTENCE_END: Final = re.compile(r"[\n?;]|[.:!](?=\s|$)")

SMALL: Final = {
    **{"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9},
    **{"ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16},
    **{"seventeen": 17, "eighteen": 18, "nineteen": 19},
}
TENS: Final = {
    **{"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
}
SCALES: Final = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_NUMBER_WORDS: Final = frozenset({*SMALL, *TENS, *SCALES})


def text_of(problem: Problem) -> str:
    """Return what a problem asks: its prompt, or what is said in its conversation."""
    said = (message.get("content", "") for message in problem.messages or ())
    return problem.prompt if problem.prompt.strip() else "\n".join(said)


def normalized_text(text: str) -> str:
    """Return the text as its words, numbers and signs, so that only these decide whether texts are equal.

    Signs, brackets and decimal points stay: ``7 - 3`` is not ``7 + 3``, and ``2.5`` is not ``25``. A number has one
    spelling: ``twenty-five``, ``25`` and ``25.0`` are equal, and so are ``1,000`` and ``1000``.
    """
    return " ".join(tokens_of(text)) or text


def tokens_of(text: str) -> list[str]:
    """Return the words, numbers and signs of :func:`normalized_text`."""
    plain = text if text.isascii() else _plain_characters(text)
    found = [
        _plain_digits(token) if "." in token or "," in token else token for token in TOKEN.findall(plain.casefold())
    ]
    return found if _NUMBER_WORDS.isdisjoint(found) else list(_in_digits(found))


def sentences_of(text: str) -> list[str]:
    """Return the lines and sentences of a text."""
    return [part for part in SENTENCE_END.split(text) if part.strip()]


def masked(tokens: Sequence[str]) -> str:
    """Return the text with every number masked, so that problems of one template are equal."""
    return " ".join("#" if is_number(token) else token for token in tokens)


def facts(tokens: Sequence[str]) -> list[str]:
    """Return the numbers and operators: with other ones a text of the same words is another problem."""
    return [token for token in tokens if token in OPERATORS or is_number(token)]


def is_number(token: str) -> bool:
    """Whether a token is a number: words and variables begin with another character."""
    return token[0].isdecimal() or token[0] == "."


def _plain_characters(text: str) -> str:
    """Give characters that look alike one form (NFKC), raised ones kept apart, invisible ones dropped."""
    visible = (character for character in text if unicodedata.category(character) != "Cf")
    apart = "".join(_apart(character) for character in visible)
    return unicodedata.normalize("NFKC", apart).translate(SPELLINGS)


def _apart(character: str) -> str:
    kind = unicodedata.decomposition(character).partition(" ")[0]
    return RAISED.get(kind, "") + character


def _plain_digits(token: str) -> str:
    """Write ``1,000.50`` as ``1000.5`` and ``.5`` as ``0.5``; other tokens stay what they are."""
    number = token.replace(",", "") if GROUPED.fullmatch(token) else token
    if not PLAIN_NUMBER.fullmatch(number) or "." not in number:
        return number
    return number.strip("0").removesuffix(".") if not number.startswith((".", "0")) else _written(Decimal(number))


def _written(value: Decimal) -> str:
    return format(value.normalize(), "f")


def _in_digits(tokens: Sequence[str]) -> Iterator[str]:
    """Yield the tokens with digits in place of words for numbers: of ``two hundred``, and of ``2.5 million``."""
    place = 0
    while place < len(tokens):
        value, place = _spoken(tokens, place) or (tokens[place], place + 1)
        while place < len(tokens) and tokens[place] in SCALES and PLAIN_NUMBER.fullmatch(value):
            value, place = _written(Decimal(value) * SCALES[tokens[place]]), place + 1
        yield value


def _spoken(tokens: Sequence[str], start: int) -> tuple[str, int] | None:
    """Read a number in words, such as ``two hundred and twenty-five``; return it with the place after it."""
    total, part, place = 0, 0, start
    while place < len(tokens):
        word = tokens[place]
        if _joins(tokens, place):
            place += 1
            continue
        if word in SMALL and _takes(part, SMALL[word]):
            part += SMALL[word]
        elif word in TENS and part % 100 == 0:
            part += TENS[word]
        elif word == "hundred" and 0 < part < 100:
            part *= 100
        elif word in SCALES and part and (total == 0 or total % (1000 * SCALES[word]) == 0):
            total, part = total + part * SCALES[word], 0
        else:
            break
        place += 1
    return (str(total + part), place) if place > start else None


def _takes(part: int, value: int) -> bool:
    """Whether a number that ends in ``part`` goes on with a small one: ``hundred five``, ``twenty five``."""
    return part % 100 == 0 or (part % 10 == 0 and part % 100 >= 20 and 0 < value < 10)


def _joins(tokens: Sequence[str], place: int) -> bool:
    """Whether a token only joins words of a number: ``twenty-five``, ``hundred and five``."""
    if not 0 < place < len(tokens) - 1:
        return False
    before, after = tokens[place - 1], tokens[place + 1]
    if tokens[place] == "-":
        return before in TENS and 0 < SMALL.get(after, 0) < 10
    return tokens[place] == "and" and before in SCALES and (after in SMALL or after in TENS)
