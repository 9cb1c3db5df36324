"""Errors a user can cause or mend: printed as one message, never as a traceback."""

import difflib
import re
from collections.abc import Iterable
from typing import Final


class ReasonRLError(Exception):
    """Base of every error that names what is wrong, where, and what to do."""

    exit_code = 2
    """What the command line returns; 2 is a mistake in a configuration or in how a command was called."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(ReasonRLError):
    """A run file, an override or an option that cannot mean what it says."""


class PluginError(ReasonRLError):
    """A reward, task, suite or other plugin that is missing, broken or offered twice."""


class DataError(ReasonRLError):
    """Problems that cannot be read, or none at all."""

    exit_code = 3


class UnreachableError(DataError):
    """Data that this machine cannot reach, though another one might."""


class OverlapError(DataError):
    """Held-out problems that are also training problems."""


class ModelError(ReasonRLError):
    """A model, tokenizer or prompt template that cannot be loaded or used."""


class RunError(ReasonRLError):
    """A run that had to stop, or a run directory that cannot be used as asked."""

    exit_code = 5


class StoppedError(RunError):
    """Work that Ctrl-C ended early; the message says what is kept and what is lost."""

    exit_code = 130


class EngineError(RunError):
    """An engine that could not start, sample, or take new weights."""


class SandboxError(RunError):
    """An isolation of programs that this machine cannot form, or that did not hold."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or nothing when none is near.

    Near is what a slip of the fingers makes of a name, word by word, or the beginning of one name alone:
    ``min_entropy`` is no slip for ``max_entropy``, nor ``stop`` for ``top_p``.
    """
    names = list(known)
    distances = {other: _slips(name.lower(), other.lower()) for other in names}
    near = [(distance, other) for other, distance in distances.items() if distance is not None]
    begun = [other for other in names if len(name) >= _SHORTEST_BEGINNING and other.startswith(name)]
    found = min(near, key=lambda item: item[0])[1:] if near else begun if len(begun) == 1 else ()
    return f" Did you mean {found[0]!r}?" if found else ""


_SHORTEST_BEGINNING: Final = 4
"""Letters that a beginning of a name has at least."""
_LETTERS_PER_SLIP: Final = 3
"""A word may have one slip for so many of its letters."""
_ALIKE: Final = 0.8
"""Share of letters in common, as :mod:`difflib` counts, of words that begin alike and are taken for each other."""
_SHORT_WORD: Final = 4
"""A word of no more letters begins as it should: ``cpu`` is no slip for ``gpu``."""


def _slips(name: str, known: str) -> int | None:
    """Return how many slips make one name of another; None where they are different names."""
    ours, theirs = (re.split(r"[_\-./: ]+", text) for text in (known, name))
    if len(ours) != len(theirs):  # a word was split, or two were joined
        ours, theirs = ["".join(ours)], ["".join(theirs)]
        if abs(len(ours[0]) - len(theirs[0])) > 1:
            return None
    pairs = list(zip(ours, theirs, strict=True))
    return sum(_distance(a, b) for a, b in pairs) if all(_is_slip(a, b) for a, b in pairs) else None


def _is_slip(word: str, other: str) -> bool:
    longest = max(len(word), len(other))
    begins_alike = word[:1] == other[:1]
    if longest <= _SHORT_WORD and not begins_alike:
        return False
    is_alike = begins_alike and difflib.SequenceMatcher(None, word, other).ratio() >= _ALIKE  # plane for plain
    return is_alike or _distance(word, other) <= longest // _LETTERS_PER_SLIP


def _distance(a: str, b: str) -> int:
    """Return the letters to insert, remove, replace or swap with a neighbor (Damerau-Levenshtein, restricted)."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        row = [i]
        for j, other in enumerate(b, start=1):
            changes = [last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other)]
            if i > 1 and j > 1 and (letter, a[i - 2]) == (b[j - 2], other):
                changes.append(before[j - 2] + 1)
            row.append(min(changes))
        before, last = last, row
    return last[-1]


def and_known(name: str, known: Iterable[str]) -> str:
    """Return the nearest name and the full list of known ones, to end a 'no such name' message."""
    names = sorted(known)
    return f"{did_you_mean(name, names)} Known: {', '.join(names) or 'none'}."
