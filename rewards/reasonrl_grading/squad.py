"""SQuAD's normalized form, in which two short texts are compared (arXiv:1606.05250)."""

import re
import unicodedata

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def squad_normalized(text: str) -> str:
    """Return a text without case, punctuation, articles, and differences of width and white space.

    This is SQuAD's normalization (arXiv:1606.05250) on NFKC, but a word with a digit keeps the signs inside
    it: otherwise 1.5 would be 15 and -5 would be 5.
    """
    folded = unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-").casefold()
    words = (_without_signs(word) for word in folded.split())
    return " ".join(_ARTICLES.sub(" ", " ".join(words)).split())


def _without_signs(word: str) -> str:
    """Remove the signs from a word; from a number only those at its ends."""
    visible = "".join(sign for sign in word if unicodedata.category(sign) != "Cf")
    if any(sign.isdigit() for sign in visible):
        return visible.strip("\"'()[]{}").rstrip(".,;:!?\"')]}")
    return "".join(sign for sign in visible if unicodedata.category(sign)[0] not in "PS")
