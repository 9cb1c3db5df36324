"""What the scores of a file of pairs add up to."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import fsum, isclose
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from reasonrl import Score
from reasonrl.evaluation.estimates import mean_estimate
from reasonrl.system.summary import Summary
from reasonrl_author.agreement import Kappa, cohens_kappa
from reasonrl_author.pairs import FileContents, Label
from reasonrl_author.report import describe_times

Mistake: TypeAlias = Literal["false accept", "false reject", "no value"]

MISTAKES: Final[dict[Mistake, str]] = {
    "false accept": "false accepts (worth more than expected)",
    "false reject": "false rejects (worth less than expected)",
    "no value": "without a value although one was expected",
}
MAX_IDS: Final = 10
"""Ids that are listed of each mistake."""
MAX_REASONS: Final = 1000
"""Different reasons that are counted."""


@dataclass(slots=True)
class ConfusionCounts:
    """Scores compared with what was expected, counted; of the rows only a few ids are kept."""

    mistakes: Counter[Mistake] = field(default_factory=Counter)
    ids: dict[Mistake, list[str | int]] = field(default_factory=dict)
    """The first rows of each mistake."""
    correct: Counter[str] = field(default_factory=Counter)
    """Rows of each kind whose score is the expected one."""
    expected: Counter[str] = field(default_factory=Counter)
    """Rows of each kind that say what is expected."""

    decisions: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    """How often each label, right or wrong, met each decision."""

    def add(self, label: Label, expected: bool | float, score: Score, threshold: float) -> None:
        """Count one score."""
        self.expected[label.kind] += 1
        if isinstance(expected, bool) and score.value is not None:
            self.decisions[expected, score.value >= threshold] += 1
        mistake = _mistake(expected, score, threshold)
        if mistake is None:
            self.correct[label.kind] += 1
            return
        self.mistakes[mistake] += 1
        ids = self.ids.setdefault(mistake, [])
        if len(ids) < MAX_IDS:
            ids.append(label.id)

    def lines(self, *, by_kind: bool) -> list[str]:
        """Return the accuracy, of each kind too where asked for, and the mistakes."""
        if not self.expected:
            return ["accuracy: no row says what is expected"]
        lines = [f"accuracy: {_accuracy(self.correct.total(), self.expected.total())}"]
        if by_kind:
            lines += [
                f"  {kind or '(no kind)'}: {_accuracy(self.correct[kind], n)}" for kind, n in self.expected.items()
            ]
        if self.decisions:
            kappa = self.kappa() or "not defined: all labels and all decisions are alike"
            lines.append(f"Cohen's kappa: {kappa}")
        for mistake, says in MISTAKES.items():
            count = self.mistakes[mistake]
            lines.append(f"{says}: {count:,}{listed(self.ids.get(mistake, []), count)}")
        return lines

    def kappa(self) -> Kappa | None:
        """Return what the reward and the labels agree on beyond chance, over the rows with a value."""
        return cohens_kappa(self.decisions, self.decisions.total())

    def as_json(self) -> dict[str, Any]:
        """Return accuracy and mistakes as JSON values. Any: those."""
        kappa = self.kappa()
        return {
            "accuracy": share_as_json(self.correct.total(), self.expected.total()),
            "by_kind": {kind: share_as_json(self.correct[kind], n) for kind, n in self.expected.items()},
            "kappa": None if kappa is None else asdict(kappa),
            "mistakes": {mistake: self.mistakes[mistake] for mistake in MISTAKES},
        }


@dataclass(slots=True)
class ScoreTotals:
    """Outcomes, times and parts of scores, counted one by one."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Reasons of the scores without a value."""
    run_s: "array[float]" = field(default_factory=lambda: array("d"))
    queue_s: "array[float]" = field(default_factory=lambda: array("d"))
    parts: "dict[str, array[float]]" = field(default_factory=dict)

    def add(self, score: Score) -> None:
        """Count one score."""
        self.outcomes[score.outcome] += 1
        self.run_s.append(score.run_s)
        self.queue_s.append(score.queue_s)
        for name, part in score.parts.items():
            self.parts.setdefault(name, array("d")).append(part)
        reason = score.why[:120]
        if score.value is None and (reason in self.reasons or len(self.reasons) < MAX_REASONS):
            self.reasons[reason] += 1

    def head(self, name: str, what: str, seconds: float, cpu_s: float, more: str = "") -> list[str]:
        """Return how many there were, how fast, and what became of them."""
        rows = self.outcomes.total()
        counted = ", ".join(f"{outcome} {count:,}" for outcome, count in self.outcomes.most_common())
        return [
            f"{name}: {rows:,} {what} in {seconds:.1f} s, start-up included: {rows / seconds:,.0f} {what} a second, "
            f"{rows / max(cpu_s, 1e-9):,.0f} a CPU-second",
            f"outcomes: {counted}{more}",
            *(f"  no value, {count:,} times: {why}" for why, count in self.reasons.most_common(3)),
        ]

    def as_json(self, name: str, seconds: float, cpu_s: float) -> dict[str, Any]:
        """Return how many there were, how fast, what became of them, and their parts, as JSON values. Any: those."""
        return {
            "reward": name,
            "scores": self.outcomes.total(),
            "seconds": seconds,
            "cpu_s": cpu_s,
            "outcomes": dict(self.outcomes),
            "parts": {name: fsum(values) / len(values) for name, values in self.parts.items()},
            "run_s": fsum(self.run_s) / max(len(self.run_s), 1),
        }

    def tail(self) -> list[str]:
        """Return the parts and the times."""
        return [
            *(["parts of the scores:"] if self.parts else []),
            *(f"  {name}: {_part(values)}" for name, values in self.parts.items()),
            f"run time: {describe_times(self.run_s)}",
            f"waiting for a worker: {describe_times(self.queue_s)}",
        ]


def _part(values: "array[float]") -> str:
    """Return the mean of a part, with an interval where it is a share, and its sum."""
    interval = ""
    if all(0 <= value <= 1 for value in values):
        estimate = mean_estimate(values)
        interval = f" (95 % interval {estimate.lower:.4g} to {estimate.upper:.4g})"
    return f"mean {fsum(values) / len(values):.4g}{interval}, sum {fsum(values):,.6g}"


@dataclass(slots=True)
class GradingSummary:
    """Counts the scores of a file one by one; it keeps numbers, not rows."""

    unit: str
    """What the reward scores at once."""
    threshold: float = 1.0
    """Smallest value that counts as right."""
    totals: ScoreTotals = field(default_factory=ScoreTotals)
    confusion: ConfusionCounts = field(default_factory=ConfusionCounts)
    num_right: int = 0

    def add(self, label: Label, score: Score) -> None:
        """Count one score."""
        self.totals.add(score)
        self.num_right += bool(is_right(score, self.threshold))
        if label.expected is not None:
            self.confusion.add(label, label.expected, score, self.threshold)

    def report(self, name: str, contents: FileContents, out: Path, seconds: float, cpu_s: float) -> Summary:
        """Return the summary."""
        right = f"; {self.num_right:,} right (value {self.threshold:g} or more)"
        notes = self._notes(name, contents)
        lines = [
            *self.totals.head(name, "rows", seconds, cpu_s, right),
            *self.confusion.lines(by_kind=len(contents.kinds) > 1),
            *self.totals.tail(),
            *notes,
            f"scores: {out}",
        ]
        counted = {"right": self.num_right, "threshold": self.threshold, "notes": notes, "file": str(out)}
        values = {**self.totals.as_json(name, seconds, cpu_s), **self.confusion.as_json(), **counted}
        return Summary("\n".join(lines), values)

    def _notes(self, name: str, contents: FileContents) -> list[str]:
        notes = []
        if self.unit != "rollout":
            notes.append(f"note: {name} scores a {self.unit} at once; each row was given to it alone")
        if contents.unused:
            notes.append(f"note: not used: {', '.join(map(repr, contents.unused))}")
        return notes


def is_right(score: Score, threshold: float) -> bool | None:
    """Say whether a value counts as right, or None where there is none."""
    return None if score.value is None else score.value >= threshold


def _mistake(expected: bool | float, score: Score, threshold: float) -> Mistake | None:
    """Say how a score differs from what was expected: right or wrong, or the value itself."""
    if score.value is None:
        return "no value"
    value = float(score.value >= threshold) if isinstance(expected, bool) else score.value
    if isclose(value, float(expected), rel_tol=1e-9, abs_tol=1e-9):
        return None
    return "false accept" if value > float(expected) else "false reject"


def share_as_json(count: int, total: int) -> dict[str, float] | None:
    """Return a share with its 95 % interval; None of nothing."""
    if not total:
        return None
    estimate = mean_estimate([1.0] * count + [0.0] * (total - count))
    ends = {"value": estimate.value, "lower": estimate.lower, "upper": estimate.upper}
    return {**ends, "count": count, "total": total}


def _accuracy(correct: int, total: int) -> str:
    estimate = mean_estimate([1.0] * correct + [0.0] * (total - correct))
    return (
        f"{100 * estimate.value:.2f} % ({correct:,} of {total:,} as expected; "
        f"95 % interval {100 * estimate.lower:.2f} to {100 * estimate.upper:.2f})"
    )


def listed(ids: Sequence[str | int], total: int) -> str:
    """Return the first ids of so many, to end a line."""
    ids = ids[:MAX_IDS]
    shown = ", ".join(map(repr, ids))
    return f": {shown}{', ...' if total > len(ids) else ''}" if ids else ""
