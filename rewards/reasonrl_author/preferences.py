"""Preference data, graded: whether a reward gives the completion that people chose more than the one they rejected."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from reasonrl import DataError, Rollout, Score, digest
from reasonrl.config.reward_model import PreferenceDataSettings
from reasonrl.evaluation.estimates import mean_estimate
from reasonrl.preference.data import Pair as Preference
from reasonrl.preference.schema import examples_of
from reasonrl.preference.sources import COLUMNS, READERS, read_rows
from reasonrl.scoring.contract import Unit
from reasonrl.system.summary import Summary
from reasonrl_author.agreement import preference_kappa
from reasonrl_author.rollouts import rollout_of
from reasonrl_author.summary import MAX_IDS, ScoreTotals, listed, share_as_json

OTHER: Final = "other_completion"
"""Column under which each completion of a pair has the other one, for rewards that compare with a reference."""

TOLERANCE: Final = 1e-9
"""Values that differ by no more are equal."""

Preferred: TypeAlias = Literal["chosen", "rejected", "tie"]


def has_preferences(path: Path) -> bool:
    """Say whether a file holds preference data and not rows with an answer and a text each."""
    if path.suffix.lower() in READERS and path.suffix.lower() != ".jsonl":
        return True
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = json.loads(next((line for line in file if line.strip()), "null"))
    except (OSError, ValueError, RecursionError):  # who reads the file says what is wrong with it
        return False
    return isinstance(first, dict) and "text" not in first and not first.keys().isdisjoint({"chosen", "completions"})


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two completions of one problem, the chosen one first, as a reward sees them."""

    number: int
    """Its place in the file, from 1; a row with ranked completions makes several."""
    chosen: Rollout
    rejected: Rollout

    def units(self, unit: Unit) -> list[list[Rollout]]:
        """Return what each call of a reward is given: one completion, or both in an order that does not tell."""
        if unit == "rollout":
            return [[self.chosen], [self.rejected]]
        return [[self.rejected, self.chosen] if self.turned else [self.chosen, self.rejected]]

    @property
    def turned(self) -> bool:
        """Whether the rejected completion stands first, where both are given at once."""
        return int(digest(self.number, self.chosen.text, self.rejected.text), 16) % 2 == 1

    def in_order(self, scores: Sequence[Score], unit: Unit) -> tuple[Score, Score]:
        """Return the scores of the chosen and of the rejected completion."""
        first, second = scores
        return (second, first) if unit != "rollout" and self.turned else (first, second)


def read_preferences(path: Path) -> Iterator[PreferencePair]:
    """Yield the pairs of a file in TRL's preference schema.

    Raises:
        DataError: a row is no pair; the message has its place.
    """
    _, rows = read_rows(PreferenceDataSettings(path=str(path)))
    pairs = ((row, pair) for where, row in rows for pair in examples_of(where, row, "bradley_terry"))
    for number, (row, pair) in enumerate(pairs, start=1):
        assert isinstance(pair, Preference)
        yield _rollouts(number, row, pair)


def _rollouts(number: int, row: Mapping[str, Any], pair: Preference) -> PreferencePair:
    """Return a pair as a reward sees it, with the row's further columns. Any: columns of a data set."""
    columns = {name: value for name, value in row.items() if name not in COLUMNS}
    problem = replace(pair.problem, answer=str(columns.get("answer") or ""))
    chosen, rejected = (
        rollout_of(replace(problem, meta={**columns, OTHER: other}), text, seed=2 * number + place)
        for place, (text, other) in enumerate(((pair.chosen, pair.rejected), (pair.rejected, pair.chosen)))
    )
    return PreferencePair(number, chosen, rejected)


def count_preferences(path: Path) -> int:
    """Check a whole file and return its number of pairs, before any of it is used.

    Raises:
        DataError: a row is no pair, or there are none.
    """
    count = sum(1 for _ in read_preferences(path))
    if not count:
        raise DataError(f'{path}: no pairs. A row is a line such as {{"prompt": ..., "chosen": ..., "rejected": ...}}')
    return count


def preferred(chosen: Score, rejected: Score) -> Preferred | None:
    """Return which completion of a pair a reward gives more, or None where it gives one of them no value."""
    if chosen.value is None or rejected.value is None:
        return None
    if abs(chosen.value - rejected.value) <= TOLERANCE:
        return "tie"
    return "chosen" if chosen.value > rejected.value else "rejected"


def preference_record(pair: PreferencePair, chosen: Score, rejected: Score) -> Mapping[str, Any]:
    """Return the scores of a pair as its line has them. Any: JSON values."""
    return {
        "pair": pair.number,
        "preferred": preferred(chosen, rejected),
        **{
            name: {"value": score.value, "outcome": score.outcome, "why": score.why, "parts": dict(score.parts)}
            for name, score in (("chosen", chosen), ("rejected", rejected))
        },
    }


@dataclass(slots=True)
class PreferenceSummary:
    """Counts the scores of pairs one by one; it keeps numbers, not texts."""

    unit: Unit
    """What the reward scores at once."""
    totals: ScoreTotals = field(default_factory=ScoreTotals)
    preferred: Counter[Preferred | None] = field(default_factory=Counter)
    numbers: dict[Preferred | None, list[int]] = field(default_factory=dict)
    """The first pairs of each kind."""
    problems: set[str] = field(default_factory=set)

    def add(self, pair: PreferencePair, chosen: Score, rejected: Score) -> None:
        """Count the scores of one pair."""
        found = preferred(chosen, rejected)
        self.preferred[found] += 1
        if len(numbers := self.numbers.setdefault(found, [])) < MAX_IDS:
            numbers.append(pair.number)
        self.problems.add(pair.chosen.problem.id)
        self.totals.add(chosen)
        self.totals.add(rejected)

    def report(self, name: str, out: Path, seconds: float, cpu_s: float) -> Summary:
        """Return the summary."""
        notes = self._notes(name)
        lines = [
            *self.totals.head(name, "completions", seconds, cpu_s),
            *self._agreement(),
            *self.totals.tail(),
            *notes,
            f"scores: {out}",
        ]
        values = {**self.totals.as_json(name, seconds, cpu_s), **self._agreement_values()}
        return Summary("\n".join(lines), {**values, "notes": notes, "file": str(out)})

    def _agreement_values(self) -> dict[str, Any]:
        """Return the accuracy over pairs with values and the kappa as JSON values. Any: those."""
        agreed, tied, reversed_ = (self.preferred[one] for one in ("chosen", "tie", "rejected"))
        total = agreed + tied + reversed_
        kappa = preference_kappa(agreed, tied, total)
        return {
            "accuracy": share_as_json(agreed, total),
            "kappa": None if kappa is None else asdict(kappa),
            "ties": tied,
            "rejected_worth_more": reversed_,
            "without_value": self.preferred[None],
        }

    def _agreement(self) -> list[str]:
        """Return the accuracy over pairs with values, a tie counted as wrong and as half, and the kappa."""
        agreed, tied, reversed_ = (self.preferred[one] for one in ("chosen", "tie", "rejected"))
        total = agreed + tied + reversed_
        lines = [f"pairs without a value: {self.preferred[None]:,}{self._listed(None)}"]
        if not total:
            return ["accuracy: no pair has values", *lines]
        estimate = mean_estimate([1.0] * agreed + [0.0] * (total - agreed))
        return [
            f"accuracy: {100 * estimate.value:.2f} % ({agreed:,} of {total:,} pairs, chosen worth more than rejected; "
            f"95 % interval {100 * estimate.lower:.2f} to {100 * estimate.upper:.2f})",
            f"  with ties as half: {100 * (agreed + tied / 2) / total:.2f} %",
            f"Cohen's kappa: {preference_kappa(agreed, tied, total)}",
            f"ties: {tied:,}{self._listed('tie')}",
            f"rejected worth more than chosen: {reversed_:,}{self._listed('rejected')}",
            *lines,
        ]

    def _listed(self, found: Preferred | None) -> str:
        return listed(self.numbers.get(found, []), self.preferred[found])

    def _notes(self, name: str) -> list[str]:
        notes = []
        if len(self.problems) < self.preferred.total():
            notes.append(f"note: {len(self.problems):,} prompts; the intervals take pairs of one prompt as independent")
        if self.unit != "rollout":
            notes.append(
                f"note: {name} scores a {self.unit} at once; both completions of a pair were given to it together"
            )
        return notes
