"""Text answers in the form in which they are compared."""

import re
from collections.abc import Mapping

SYNONYMS: Mapping[str, str] = {
    "dne": "does not exist", "doesn't exist": "does not exist", "no solutions": "no solution",
    "no real solution": "no solution", "no real solutions": "no solution", "there are no solutions": "no solution",
    "all real number": "all real numbers", "all reals": "all real numbers", "real numbers": "all real numbers",
    "infinite solutions": "infinitely many", "infinitely many solutions": "infinitely many",
    "inf": "infinity", "positive infinity": "infinity",
}  # fmt: skip
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt)|mbox|emph|operatorname)\s*\{([^{}]*)\}")
_IGNORED = re.compile(r"[\"'`*{}$\\,;!?]|\.(?!\d)")
_ARTICLE = re.compile(r"(?:the|an?)\s+(?=\S)", re.IGNORECASE)


def plain_words(text: str) -> str:
    """Return a text without LaTeX, punctuation, repeated spaces and a leading article."""
    text = _TEXT.sub(r" \1 ", text)
    text = re.sub(r"\s*-\s*", "-", text)
    text = " ".join(_IGNORED.sub(" ", text.replace("'s", "s")).split())
    if text[:1] == "(" and text[-1:] == ")" and text.count("(") == 1:
        text = text[1:-1].strip()
    text = _ARTICLE.sub("", text, count=1) if _ARTICLE.match(text) else text
    return SYNONYMS.get(text.casefold(), text)
