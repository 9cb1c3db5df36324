"""Keep completions from repeating themselves."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from reasonrl import ConfigError, Rollout, Score

_PRIME: Final = 2**61 - 1
_BASE: Final = 1_000_003
_WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff]|\w{1,20}|[^\w\s]")
"""A word, a sign, or a letter of a script without spaces; a very long word is cut into pieces."""


def repetition(rollout: Rollout, *, ngram_size: int = 20) -> Score:
    """0 for a text without repetition, down to -1 for one that only repeats.

    The cost is the share of runs of ``ngram_size`` words that stood in the text before (the n-gram penalty of
    "Demystifying Long Chain-of-Thought", arXiv:2502.03373, over the whole completion). Thinking counts too.
    A text shorter than that costs nothing, and so does saying one thing in other words.

    Args:
        rollout: what is scored.
        ngram_size: words and signs in a run; runs of a few words recur in any honest derivation.

    Raises:
        ConfigError: ``ngram_size`` is less than 1.
    """
    if ngram_size < 1:
        raise ConfigError(f"reward 'repetition': ngram_size is {ngram_size}; use 1 or more (20 is a good start).")
    words = _WORD.findall(rollout.text.casefold())
    num_runs = len(words) - ngram_size + 1
    if num_runs < 1:
        return Score(0.0, f"{len(words)} words, fewer than a run of {ngram_size}")
    num_different = len(set(_hashes(words, ngram_size)))
    return Score(num_different / num_runs - 1.0, f"{num_runs - num_different} of {num_runs} runs stood before")


def _hashes(words: Sequence[str], size: int) -> Iterator[int]:
    """Yield a rolling hash of each run of words; equal runs have equal hashes."""
    number_of: dict[str, int] = {}
    numbers = [number_of.setdefault(word, len(number_of) + 1) for word in words]
    oldest = pow(_BASE, size, _PRIME)
    value = 0
    for index, number in enumerate(numbers):
        value = (value * _BASE + number) % _PRIME
        if index >= size:
            value = (value - oldest * numbers[index - size]) % _PRIME
        if index >= size - 1:
            yield value
