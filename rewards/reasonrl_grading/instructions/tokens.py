"""Sentences and words as NLTK divides a text, by rules instead of its trained models.

The words are those of the Penn Treebank's rules, which NLTK applies sentence by sentence. The sentences end where
Punkt's do in ordinary English: its model knows more abbreviations, and learned them from newspapers.
"""

import re
from typing import Final

_END = re.compile(r"[.?!](?=\s|[)\";}\]*:@'({\[])")
_CLOSING = re.compile(r"[\"')\]}]+(?=\s|\Z)")
_ABBREVIATION = re.compile(
    r"(?<![\w.])(?:mr|mrs|ms|dr|prof|st|vs|fig|jr|sr|gen|gov|lt|col|sgt|rev|capt|rep|sen|inc|ltd|corp|co|no|etc|ft|jan|feb"
    r"|mar|apr|aug|sept?|oct|nov|dec|ave|blvd|a\.m|p\.m|u\.s|i\.e|ph\.d|[a-z])\Z",
    re.IGNORECASE,
)
_NAMED = re.compile(r"(?<![\w.])(?:(?i:mr|mrs|ms|dr|prof|st|gen|gov|lt|col|sgt|rev|capt|rep|sen|vs|fig|no)|[A-Za-z])\Z")
_LOWER = re.compile(r"\s+[\"'“‘(\[]*[a-z,;:]")
_STARTER = re.compile(
    r"\s+(?:The|He|She|It|They|We|You|I|In|If|This|That|These|Thus|So|Then|There|But|And|Now|What|How|Since|When)\b"
)

# A token of its own: see nltk.tokenize.destructive.NLTKWordTokenizer.
_ALONE = re.compile(
    r"\.{2,}|[;@#$%&?!*()\[\]{}<>\"“”«»]|--|[:,](?=\D|\Z)|(?<=[^.])\.(?=[\])}>\"'»”’ ]*\Z)|[‘’„]|`+|(?<!\S)'(?=\w)"
)
_CLITIC = re.compile(r"(?<=[^'\s])('(?:s|m|d|ll|re|ve)|'|(?<=\w)n't)(?!\S)", re.IGNORECASE)
_JOINED = re.compile(
    r"\b(?:(can)(not)|(gim)(me)|(gon)(na)|(got)(ta)|(lem)(me)|(wan)(na))\b|(?<!\S)('t)(is|was)\b", re.IGNORECASE
)

_BEFORE: Final = 12
"""Characters before a full stop that tell an abbreviation."""


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a text, each without the white space around it."""
    begin, found = 0, list[str]()
    for end in _END.finditer(text):
        if not _goes_on(text, end):
            closing = _CLOSING.match(text, end.end())
            stop = closing.end() if closing else end.end()
            found.append(text[begin:stop].strip())
            begin = stop
    rest = text[begin:].strip()
    return [sentence for sentence in [*found, rest] if sentence]


def _goes_on(text: str, end: re.Match[str]) -> bool:
    """Say whether a sentence goes on after a full stop: of an abbreviation, or of an ellipsis before a small letter."""
    if end[0] != ".":
        return False
    before = text[max(end.start() - _BEFORE, 0) : end.start()]
    if before.endswith(".") and not _ABBREVIATION.search(before):
        return _LOWER.match(text, end.end()) is not None
    if not _ABBREVIATION.search(before):
        return False
    if _LOWER.match(text, end.end()):
        return True
    return _NAMED.search(before) is not None and _STARTER.match(text, end.end()) is None


def word_tokens(text: str) -> list[str]:
    """Return the words, numbers and signs of a text, such as ``do``, ``n't`` and ``.``."""
    return [token for sentence in sentences_of(text) for token in _tokens(sentence)]


def _tokens(sentence: str) -> list[str]:
    apart = _ALONE.sub(r" \g<0> ", sentence)
    apart = _CLITIC.sub(r" \1 ", apart)
    return _JOINED.sub(lambda match: f" {' '.join(filter(None, match.groups()))} ", apart).split()
