"""What training problems and held-out problems have in common, and whether a run is refused for it."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

SCHEMA_VERSION: Final = 1
NUM_WRITTEN: Final = 200
"""Matches of a suite in a file."""
MAX_COPIES: Final = 0.05
"""Share of near copies among held-out problems that is not refused. Of MATH-500, 3 % are near copies of problems of
MATH's training set; of GSM8K's test set none are of its training set."""

Kind: TypeAlias = Literal["exact", "normalized", "contained", "near", "renumbered", "template"]
MEANINGS: Final[Mapping[Kind, str]] = {
    "exact": "by id",
    "normalized": "by text",
    "contained": "within a longer text",
    "near": "but for a few words",
    "renumbered": "with other numbers",
    "template": "of a template with other numbers",
}
SAME: Final[tuple[Kind, ...]] = ("exact", "normalized", "contained")
"""Kinds of matches that are the same problem: one of them refuses a run."""
COPIES: Final[tuple[Kind, ...]] = ("near", "renumbered")
"""Kinds of matches that look like a copy that somebody changed: more than a few of them refuse a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A held-out problem and a training problem that are the same, or nearly."""

    kind: Kind
    """``exact`` by id, ``normalized`` by text, ``contained`` in a longer text; ``near`` but for a few words;
    ``renumbered`` and ``template`` but for numbers, of a text that stands alone and of one that is used for many."""
    train_id: str
    heldout_id: str
    train_text: str
    heldout_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """What training problems and one held-out suite have in common."""

    num_train: int
    num_heldout: int
    found: tuple[Match, ...]
    """At most one for each held-out problem, of the first kind that fits."""
    num_similar: int = 0
    """Held-out problems of whose own words at least half stand in one training text, whatever the numbers."""
    split_by_id: tuple[str, ...] = ()
    """Tasks of the training problems which, like the suite's, put each problem on its side by its id: their problems
    may be alike, and of them only equal ones are refused."""

    @property
    def matches(self) -> tuple[Match, ...]:
        """Held-out problems that are training problems."""
        return tuple(match for match in self.found if match.kind in SAME)

    @property
    def copies(self) -> tuple[Match, ...]:
        """Held-out problems that are training problems but for a few words, or for the numbers."""
        return tuple(match for match in self.found if match.kind in COPIES)

    @property
    def masked_rate(self) -> float:
        """Share of the held-out problems that are training problems once all numbers are masked, equal ones left out.

        With a template, as generated tasks have, it is high and no fault.
        """
        return sum(match.kind in ("renumbered", "template") for match in self.found) / max(1, self.num_heldout)

    @property
    def similar_rate(self) -> float:
        """Share of ``num_similar``."""
        return self.num_similar / max(1, self.num_heldout)

    @property
    def exact(self) -> tuple[str, ...]:
        """Ids that occur in both."""
        return tuple(match.heldout_id for match in self.matches if match.kind == "exact")

    @property
    def normalized(self) -> tuple[tuple[str, str], ...]:
        """Ids (training, held-out) of problems with other ids but the same text."""
        return tuple((match.train_id, match.heldout_id) for match in self.matches if match.kind == "normalized")

    @property
    def is_refused(self) -> bool:
        """Whether a run needs a reason to go on: a problem stands on both sides, or copies are more than a few."""
        return bool(self.refused)

    @property
    def refused(self) -> tuple[Match, ...]:
        """What it is refused for."""
        has_many_copies = len(self.copies) > MAX_COPIES * self.num_heldout
        return (*self.matches, *(self.copies if has_many_copies else ()))

    @property
    def summary(self) -> str:
        """The finding in a sentence."""
        counts = Counter(match.kind for match in self.found)
        kinds = [kind for kind in SAME[:2] if self.matches] + [kind for kind in SAME[2:] if counts[kind]]
        how = ", ".join(f"{counts[kind]} {MEANINGS[kind]}" for kind in kinds)
        among = f"among {self.num_train} training problems"
        said = (
            f"{len(self.matches)} of {self.num_heldout} held-out problems are {among} ({how})"
            if self.matches
            else f"none of {self.num_heldout} held-out problems is {among}"
        )
        told = COPIES if self.split_by_id else (*COPIES, "template")
        return said + "".join(f"; {counts[kind]} {MEANINGS[kind]}" for kind in told if counts[kind])

    def as_json(self) -> Mapping[str, Any]:
        """Return the verdict, counts, rates and the first rows. Any: JSON values."""
        counts, worst_first = Counter(match.kind for match in self.found), [*MEANINGS]
        rows = sorted(self.found, key=lambda match: worst_first.index(match.kind))
        return {
            "verdict": "overlap" if self.is_refused else "apart",
            "num_train": self.num_train,
            "num_heldout": self.num_heldout,
            "counts": {kind: counts[kind] for kind in MEANINGS} | {"similar": self.num_similar},
            "rates": {
                "same": len(self.matches) / max(1, self.num_heldout),
                "copies": len(self.copies) / max(1, self.num_heldout),
                "masked": self.masked_rate,
                "similar": self.similar_rate,
            },
            "split_by_id": list(self.split_by_id),
            "rows": [asdict(match) for match in rows[:NUM_WRITTEN]],
        }


def overlap_file(overlaps: Mapping[str, Overlap], reason: str) -> bytes:
    """Return the file ``overlap.json`` of a run: what was found for each suite, and why an overlap is allowed."""
    found = {"suites": {name: overlap.as_json() for name, overlap in overlaps.items()}, "allow_overlap": reason}
    return json.dumps({"schema_version": SCHEMA_VERSION, **found}, indent=2, ensure_ascii=False).encode() + b"\n"
