"""Find held-out problems that are also training problems.

Compared are ids and whole texts up to case, spacing and sentence punctuation. Left out: shared word n-grams,
paraphrases, equal templates with other numbers, and what a base model saw before training.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from reasonrl.errors import OverlapError
from reasonrl.types import Problem

NUM_SHOWN: Final = 3
"""Matches in an error message."""
WIDTH_SHOWN: Final = 120
"""Characters of a prompt in an error message."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A held-out problem and a training problem that are the same."""

    kind: Literal["exact", "normalized"]
    """``exact`` by id, ``normalized`` by text."""
    train_id: str
    heldout_id: str
    train_text: str
    heldout_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What training problems and one held-out suite have in common."""

    num_train: int
    num_heldout: int
    matches: tuple[Match, ...]
    """At most one for each held-out problem."""

    @property
    def exact(self) -> tuple[str, ...]:
        """Ids that occur in both."""
        return tuple(match.heldout_id for match in self.matches if match.kind == "exact")

    @property
    def normalized(self) -> tuple[tuple[str, str], ...]:
        """Ids (training, held-out) of problems with other ids but the same text."""
        return tuple((match.train_id, match.heldout_id) for match in self.matches if match.kind == "normalized")

    @property
    def summary(self) -> str:
        """The finding in a sentence."""
        if not self.matches:
            return f"none of {self.num_heldout} held-out problems is among {self.num_train} training problems"
        return (
            f"{len(self.matches)} of {self.num_heldout} held-out problems are among {self.num_train} "
            f"training problems ({len(self.exact)} by id, {len(self.normalized)} by text)"
        )


def find_overlap(train: Sequence[Problem], heldout: Sequence[Problem]) -> Overlap:
    """Compare ids and normalized texts; both are looked up, so the time is that of reading the problems."""
    by_id = {problem.id: problem for problem in train}
    by_text = {normalized_text(_text(problem)): problem for problem in train}
    found = [_match(problem, by_id, by_text) for problem in heldout]
    return Overlap(
        num_train=len(train),
        num_heldout=len(heldout),
        matches=tuple(match for match in found if match is not None),
    )


def require_apart(overlaps: Mapping[str, Overlap], reason: str) -> None:
    """Refuse suites that share problems with the training data, unless there is a reason.

    Args:
        overlaps: the finding for each suite, by name.
        reason: why an overlap is allowed; empty refuses it.

    Raises:
        OverlapError: some suite shares problems; the message shows the first ones.
    """
    sharing = {name: overlap for name, overlap in overlaps.items() if overlap.matches}
    if sharing and not reason.strip():
        found = "\n".join(_report(name, overlap) for name, overlap in sharing.items())
        raise OverlapError(
            f"{found}\nTake them out of one side, or say why the figures still mean something: "
            'evaluation.allow_overlap="why".'
        )


def normalized_text(text: str) -> str:
    """Return the text as its words, numbers and signs, so that only these decide whether texts are equal.

    Signs, brackets and decimal points stay: ``7 - 3`` is not ``7 + 3``, and ``2.5`` is not ``25``.
    """
    plain = text if text.isascii() else _plain_characters(text)
    return " ".join(TOKEN.findall(plain.casefold())) or text


def _plain_characters(text: str) -> str:
    """Give characters that look alike one form (NFKC), raised ones kept apart, invisible ones dropped."""
    visible = (character for character in text if unicodedata.category(character) != "Cf")
    apart = "".join(_apart(character) for character in visible)
    return unicodedata.normalize("NFKC", apart).translate(SPELLINGS)


def _apart(character: str) -> str:
    kind = unicodedata.decomposition(character).partition(" ")[0]
    return RAISED.get(kind, "") + character


def _text(problem: Problem) -> str:
    said = (message.get("content", "") for message in problem.messages or ())
    return problem.prompt if problem.prompt.strip() else "\n".join(said)


def _match(problem: Problem, by_id: Mapping[str, Problem], by_text: Mapping[str, Problem]) -> Match | None:
    kind: Literal["exact", "normalized"] = "exact" if problem.id in by_id else "normalized"
    twin = by_id.get(problem.id) or by_text.get(normalized_text(_text(problem)))
    if twin is None:
        return None
    return Match(
        kind=kind,
        train_id=twin.id,
        heldout_id=problem.id,
        train_text=_text(twin),
        heldout_text=_text(problem),
    )


def _report(name: str, overlap: Overlap) -> str:
    rows = [
        f"  {match.kind}: train {match.train_id} {_shown(match.train_text)}, "
        f"held-out {match.heldout_id} {_shown(match.heldout_text)}"
        for match in overlap.matches[:NUM_SHOWN]
    ]
    return "\n".join([f"suite {name!r}: {overlap.summary}:", *rows])


def _shown(text: str) -> str:
    return repr(text if len(text) <= WIDTH_SHOWN else f"{text[:WIDTH_SHOWN]}...")
