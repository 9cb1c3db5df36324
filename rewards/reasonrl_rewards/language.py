"""Keep completions in one language."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from reasonrl import ConfigError, Rollout, Score
from reasonrl.errors import and_known
from reasonrl_grading.languages import SCRIPTS, language_of

MIN_LETTERS: Final = 40
"""Letters of a passage: with fewer, languages of one script cannot be told apart."""

MAX_PASSAGES: Final = 2_000
"""Passages whose language is detected, evenly spread over a longer text."""

_NO_PROSE = re.compile(
    r"```(?:(?!```).)*```|\$\$[^$]*\$\$|\$[^$\n]*\$|\\\((?:(?!\\[()]).)*\\\)|\\\[(?:(?!\\[\[\]]).)*\\\]"
    r"|\\[A-Za-z]+|</?[a-z]+>|(?<![^\W\d_])[A-Za-z](?![^\W\d_])",
    re.DOTALL,
)
_SENTENCE_END = re.compile(r"(?<=[.!?।])\s+|(?<=[。！？])|\n+")


def language(rollout: Rollout, *, language: str = "en") -> Score:
    """Return the share of letters that belong to the wanted language (DeepSeek-R1, arXiv:2501.12948, section 2.3.2).

    Thinking counts, math, code and single letters do not. A letter counts when it is of the language's script
    and its passage, where that has 40 letters or more, is in that language. Text without words gets 0. It does not
    see what is in a code fence, a few foreign words in a passage, a language written in another one's script,
    or nonsense; a text that only greets in the right language gets 1.

    Args:
        rollout: what is scored.
        language: ISO 639-1 code, such as ``en`` or ``zh``.

    Raises:
        ConfigError: the language is not known.
    """
    if language not in SCRIPTS:
        raise ConfigError(f"reward 'language': no {language!r}.{and_known(language, SCRIPTS)}")
    passages = list(_passages(_NO_PROSE.sub(" ", rollout.text)))
    judged = [_letters(passage, language) for passage in passages[:: len(passages) // MAX_PASSAGES + 1]]
    num_own, num_letters = (sum(counts) for counts in zip((0, 0), *judged, strict=True))
    if not num_letters:
        return Score(0.0, "no words")
    return Score(num_own / num_letters, f"{num_own} of {num_letters} letters are {language}")


def _passages(text: str) -> Iterator[str]:
    """Yield sentences, joined until they have enough letters to tell their language."""
    waiting: list[str] = []
    num_letters = 0
    for sentence in _SENTENCE_END.split(text):
        waiting.append(sentence)
        num_letters += sum(map(str.isalpha, sentence))
        if num_letters >= MIN_LETTERS:
            yield " ".join(waiting)
            waiting, num_letters = [], 0
    yield " ".join(waiting)


def _letters(passage: str, language: str) -> Sequence[int]:
    """Return the letters of a passage that belong to the language, and all its letters."""
    import regex

    num_letters = len(regex.findall(r"\p{L}", passage))
    scripts = "".join(rf"\p{{Script_Extensions={script}}}" for script in SCRIPTS[language])
    num_own = len(regex.findall(rf"(?=\p{{L}})[{scripts}]", passage))
    is_long = num_own >= MIN_LETTERS
    return (0 if is_long and language_of(passage) != language else num_own, num_letters)
