"""What the question of a problem says about its answer."""

import re
from functools import lru_cache

_ASKED = re.compile(
    r"\b(?:what|which|how many|how much|find|calculate|compute|determine|express|give|state|write|answer|as|in|to|by"
    r"|nearest|is|are|was|were|the|a)\s+(?:(?![.?!;]|[0-9]|\w*ty\b|\w*teen\b|if\b|when\b)[\w'-]+,?\s+){0,5}?"
    r"(?:a\s+)?per\s?cent(?:age)?s?\b(?!\s+(?:of\s+(?:the\s+)?)?[0-9$])",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"per\s?cent|%", re.IGNORECASE)
_FORMULA = re.compile(r"\$([^$]+)\$|\\\((.+?)\\\)")
_ARTICLE = re.compile(r"\b(?:an?|I)\b", re.IGNORECASE)
_NAME = re.compile(r"(?<![A-Za-z\\])([A-Za-z])(?![A-Za-z])|\\(alpha|beta|gamma|theta|lambda|mu|phi)(?![A-Za-z])")


@lru_cache(maxsize=4096)
def asks_for_percentage(question: str, wanted: str) -> bool:
    """Whether a question asks for a percentage, as far as its words or the percent sign of the wanted answer tell."""
    return _ASKED.search(question) is not None or ("%" in wanted and _PERCENT.search(question) is not None)


@lru_cache(maxsize=4096)
def names_in_order(question: str) -> tuple[str, ...]:
    """Return single letters that stand alone in a question, in the order in which it asks for them.

    The last sentence that names several decides: it is the one that asks.
    """
    sentences = [_names(sentence) for sentence in re.split(r"(?<=[.?!])\s", question)]
    return next((names for names in reversed(sentences) if len(names) > 1), ())


def _names(sentence: str) -> tuple[str, ...]:
    formulas = [first or second for first, second in _FORMULA.findall(sentence)]
    text = " ".join(formulas) if formulas else _ARTICLE.sub(" ", sentence)
    return tuple(dict.fromkeys(letter or greek for letter, greek in _NAME.findall(text)))
