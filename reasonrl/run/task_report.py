"""What a check of a task or suite found, for people and as JSON."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from reasonrl.types import Problem

NUM_SHOWN: Final = 3
"""Problems that a finding names."""
MAX_SHOWN: Final = 70
"""Characters of a text that are shown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault."""

    says: str
    problems: Sequence[str] = ()
    """Ids of the problems that show it."""
    examples: Sequence[str] = ()
    """What was replied to the first of them, and what it got."""

    @classmethod
    def of(cls, says: str, replies: Sequence[tuple[Problem, str, float | None]]) -> Self:
        """Return a finding on replies, each with its problem and what it got."""
        shown = [
            f"{problem.id}: {cut(text)} got {'no score' if value is None else f'{value:g}'}"
            for problem, text, value in replies[:NUM_SHOWN]
        ]
        return cls(says, [problem.id for problem, _, _ in replies], shown)

    def __str__(self) -> str:
        """Return it as a paragraph."""
        number = f" ({len(self.problems)} problems)" if self.problems else ""
        shown = self.examples or list(self.problems[:NUM_SHOWN])
        return "\n".join([f"{self.says}{number}", *(f"    {line}" for line in shown)])


@dataclass(frozen=True, slots=True)
class ReplyCounts:
    """What replies of one kind got."""

    num_replies: int
    num_full: int
    """With a score of at least 1."""
    num_part: int
    """With a score above 0 and below 1."""
    num_unscored: int
    highest: float
    """The highest score below 1; 0 without one."""

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Self:
        """Count scores; None is a reply without one."""
        scored = [value for value in values if value is not None]
        part = [value for value in scored if 0 < value < 1]
        full = sum(value >= 1 for value in scored)
        return cls(len(values), full, len(part), len(values) - len(scored), max(part, default=0.0))

    def __str__(self) -> str:
        """Return it as a line."""
        part = f", {self.num_part} score a part, up to {self.highest:.3g}" if self.num_part else ""
        unscored = f", {self.num_unscored} have no score" if self.num_unscored else ""
        return f"{self.num_full} of {self.num_replies} score 1{part}{unscored}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """All that a check found."""

    name: str
    scored_by: str
    num_problems: Mapping[str, int]
    """By split."""
    num_checked: Mapping[str, int]
    """Problems that replies were made for, by split."""
    ways: Mapping[str, int]
    """Right answers that scored 1, by how the reply marked them."""
    replies: Mapping[str, ReplyCounts]
    """By kind: ``right``, ``wrong`` (the answer to another problem), ``mangled``, ``empty``."""
    prompt_characters: tuple[float, float]
    """Median and maximum over all problems."""
    prompt_tokens: tuple[float, float] | None
    """The same in tokens of a model, where one was given."""
    seconds: tuple[float, float] | None
    """Median and maximum time of scoring one reply."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def is_passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def as_json(self) -> Mapping[str, Any]:
        """Return it as JSON values. Any: those."""
        return {**asdict(self), "passed": self.is_passed}

    def __str__(self) -> str:
        """Return it as a page."""
        found = [f"  FAILED: {finding}" for finding in self.findings]
        return "\n".join([f"{self.name}: {'ok' if self.is_passed else 'FAILED'}", *self._lines(), *found])

    def _lines(self) -> list[str]:
        sizes = ", ".join(
            f"{self.num_checked[split]:,} of {number:,} {split} problems" for split, number in self.num_problems.items()
        )
        ways = f" (as {', '.join(f'{way}: {count}' for way, count in self.ways.items())})" if self.ways else ""
        lines = [f"  checked  {sizes}, scored by {self.scored_by}"]
        lines += [f"  {kind:<8} {counts}{ways if kind == 'right' else ''}" for kind, counts in self.replies.items()]
        lines.append(
            f"  prompts  median {self.prompt_characters[0]:,.0f} characters, max {self.prompt_characters[1]:,.0f}"
        )
        if self.prompt_tokens is not None:
            lines.append("  tokens   median {:,.0f}, max {:,.0f}".format(*self.prompt_tokens))
        if self.seconds is not None:
            median, slowest = (1000 * second for second in self.seconds)
            lines.append(f"  time     median {median:.3g} ms a reply, max {slowest:.3g} ms")
        return [*lines, *(f"  note     {note}" for note in self.notes)]


def spread(numbers: Sequence[int]) -> tuple[float, float]:
    """Return median and maximum."""
    return (statistics.median(numbers), float(max(numbers)))


def cut(text: str) -> str:
    """Return the beginning of a text, quoted."""
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}...")
