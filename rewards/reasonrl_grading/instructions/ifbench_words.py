"""Lists of words that IFBench's instructions name, and its ways to take words from a text."""

import string
from typing import Final


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


CONJUNCTIONS: Final = _set("and but for nor or so yet")

PERSON_NAMES: Final = _set(
    "Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin "
    "Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan "
    "Victoria Elijah Layla Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph "
    "Claire Ryan Stella Jonathan"
)

PRIMES: Final = frozenset(n for n in range(2, 98) if all(n % factor for factor in range(2, n)))

PRONOUNS: Final = _set(
    "i me we us you he him she her it they them my mine our ours your yours his hers its their theirs myself "
    "ourselves yourself yourselves himself herself itself themselves this that these those who whom whose which "
    "what whoever whomever whatever whichever anybody anyone anything everybody everyone everything nobody "
    "nothing somebody someone something each either neither both all some any none"
)

STOP_WORDS: Final = _set(
    "i me my myself we our ours ourselves you you're you've you'll you'd your yours yourself yourselves he him his "
    "himself she she's her hers herself it it's its itself they them their theirs themselves what which who whom "
    "this that that'll these those am is are was were be been being have has had having do does did doing a an the "
    "and but if or because as until while of at by for with about against between into through during before after "
    "above below to from up down in out on off over under again further then once here there when where why how "
    "all any both each few more most other some such no nor not only own same so than too very s t can will just "
    "don don't should should've now d ll m o re ve y ain aren aren't couldn couldn't didn didn't doesn doesn't "
    "hadn hadn't hasn hasn't haven haven't isn isn't ma mightn mightn't mustn mustn't needn needn't shan shan't "
    "shouldn shouldn't wasn wasn't weren weren't won won't wouldn wouldn't"
)
"""NLTK's English list."""

_SIDES: Final = string.punctuation + " "
_NO_SIGNS: Final = str.maketrans("", "", string.punctuation)


def stripped(word: str) -> str:
    """Return a word without ASCII punctuation and spaces at its ends."""
    return word.strip(_SIDES)


def without_signs(text: str) -> str:
    """Return a text without ASCII punctuation."""
    return text.translate(_NO_SIGNS)


def bare_words(text: str) -> list[str]:
    """Return the words of a text in small letters, without ASCII punctuation."""
    return without_signs(text.lower()).split()
