"""What the verdicts on a file come to."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np

from reasonrl.author.pairs import Census, Wanted
from reasonrl.evaluation.estimates import mean_estimate
from reasonrl.types import Score

Mistake: TypeAlias = Literal["false accept", "false reject", "no value"]

MISTAKES: Final[dict[Mistake, str]] = {
    "false accept": "false accepts (worth more than expected)",
    "false reject": "false rejects (worth less than expected)",
    "no value": "without a value although one was expected",
}
MOST_SHOWN: Final = 10
"""Ids that are listed of each mistake."""
MOST_CAUSES: Final = 1000
"""Different reasons that are counted."""
PERCENTILES: Final = (50, 95, 99, 100)


@dataclass(slots=True)
class Tally:
    """Counts verdicts one by one; it keeps numbers and a few ids, not rows."""

    unit: str
    """What the reward scores at once."""
    outcomes: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    """Reasons of the verdicts without a value."""
    mistakes: Counter[Mistake] = field(default_factory=Counter)
    examples: dict[Mistake, list[str | int]] = field(default_factory=dict)
    agreed: Counter[str] = field(default_factory=Counter)
    """Rows of each kind whose verdict is the expected one."""
    expected: Counter[str] = field(default_factory=Counter)
    """Rows of each kind that say what is expected."""
    right: int = 0
    run_s: "array[float]" = field(default_factory=lambda: array("d"))
    queue_s: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, wanted: Wanted, score: Score) -> None:
        """Count one verdict."""
        self.outcomes[score.outcome] += 1
        self.right += score.value is not None and score.value >= 1.0
        self.run_s.append(score.run_s)
        self.queue_s.append(score.queue_s)
        if score.value is None:
            self._note_cause(score.why[:120])
        if wanted.expected is not None:
            self._compare(wanted, wanted.expected, score)

    def _note_cause(self, why: str) -> None:
        """Count one reason; beyond a thousand different ones only those that are known."""
        if why in self.causes or len(self.causes) < MOST_CAUSES:
            self.causes[why] += 1

    def _compare(self, wanted: Wanted, expected: bool | float, score: Score) -> None:
        """Count one verdict against what was expected."""
        self.expected[wanted.kind] += 1
        mistake = _mistake(expected, score)
        if mistake is None:
            self.agreed[wanted.kind] += 1
            return
        self.mistakes[mistake] += 1
        examples = self.examples.setdefault(mistake, [])
        if len(examples) < MOST_SHOWN:
            examples.append(wanted.id)

    def summary(self, name: str, census: Census, out: Path, seconds: float, cpu_s: float) -> str:
        """Return the lines that a person reads."""
        rows = self.outcomes.total()
        lines = [
            f"{name}: {rows:,} rows in {seconds:.1f} s, start-up included: {rows / seconds:,.0f} rows a second, "
            f"{rows / max(cpu_s, 1e-9):,.0f} a CPU-second",
            f"outcomes: {_counts(self.outcomes)}; {self.right:,} right (value 1 or more)",
            *self._causes(),
            *self._accuracies(census),
            *self._mistakes(),
            f"run time: {_percentiles(self.run_s)}",
            f"waiting for a worker: {_percentiles(self.queue_s)}",
            *self._notes(name, census),
            f"verdicts: {out}",
        ]
        return "\n".join(lines)

    def _causes(self) -> list[str]:
        """Say what most of the verdicts without a value have in common."""
        return [f"  no value, {count:,} times: {why}" for why, count in self.causes.most_common(3)]

    def _accuracies(self, census: Census) -> list[str]:
        """Return the accuracy of all rows, and of each kind where there are several."""
        if not self.expected:
            return ["accuracy: no row says what is expected"]
        lines = [f"accuracy: {_share(self.agreed.total(), self.expected.total())}"]
        if len(census.kinds) > 1:
            lines += [f"  {kind or '(no kind)'}: {_share(self.agreed[kind], n)}" for kind, n in self.expected.items()]
        return lines

    def _mistakes(self) -> list[str]:
        """List the rows that were not judged as expected."""
        return [
            f"{says}: {self.mistakes[mistake]:,}{_listed(self.examples.get(mistake, []), self.mistakes[mistake])}"
            for mistake, says in MISTAKES.items()
            if self.expected
        ]

    def _notes(self, name: str, census: Census) -> list[str]:
        """Say what was left aside."""
        notes = []
        if self.unit != "rollout":
            notes.append(f"note: {name} scores a {self.unit} at once; each row was given to it alone")
        if census.unused:
            notes.append(f"note: not used: {', '.join(map(repr, census.unused))}")
        return notes


def _mistake(expected: bool | float, score: Score) -> Mistake | None:
    """Say how a verdict differs from what was expected: right or wrong, or the value itself."""
    if score.value is None:
        return "no value"
    value = float(score.value >= 1.0) if isinstance(expected, bool) else score.value
    if isclose(value, float(expected), rel_tol=1e-9, abs_tol=1e-9):
        return None
    return "false accept" if value > float(expected) else "false reject"


def _share(agreed: int, total: int) -> str:
    """Write a share with its interval."""
    estimate = mean_estimate([1.0] * agreed + [0.0] * (total - agreed))
    return (
        f"{100 * estimate.value:.2f} % ({agreed:,} of {total:,} as expected; "
        f"95 % interval {100 * estimate.lower:.2f} to {100 * estimate.upper:.2f})"
    )


def _counts(counts: Counter[str]) -> str:
    """Write counts, the commonest first."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def _listed(ids: Sequence[str | int], total: int) -> str:
    """Write some ids, and that there are more."""
    shown = ", ".join(map(repr, ids))
    return f": {shown}{', ...' if total > len(ids) else ''}" if ids else ""


def _percentiles(seconds: "array[float]") -> str:
    """Write the percentiles of a time in milliseconds."""
    values = np.percentile(np.asarray(seconds), PERCENTILES) * 1000
    return ", ".join(
        f"{'max' if percent == 100 else f'p{percent}'} {value:.3g} ms"
        for percent, value in zip(PERCENTILES, values, strict=True)
    )
