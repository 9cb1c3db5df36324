"""What a check of a reward found, for people, for programs and for tests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from reasonrl import Score
from reasonrl_author.probes import ProbeResult

MAX_SHOWN: Final = 70
"""Characters of a text that are shown."""

PERCENTILES: Final = (50, 95, 99, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault of a reward, in words."""

    says: str
    reply: str | None = None
    """The shortest reply that shows it, cut."""
    answer: str | None = None
    """The right answer of its problem."""
    got: str = ""
    """What the reply got, and why."""
    times: int = 1
    """Replies that show it."""

    def __str__(self) -> str:
        """Return it as a paragraph."""
        times = f" ({self.times} replies)" if self.times > 1 else ""
        if self.reply is None:
            return self.says + times
        return f"{self.says}{times}\n     {self.reply!r} got {self.got}; the answer is {self.answer!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a check found."""

    reward: str
    num_problems: int
    num_replies: int
    """Replies that were scored, repetitions not counted."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """Observations that are not faults, and what could not be checked."""

    def __str__(self) -> str:
        """Return it as a page."""
        head = f"{self.reward}: checked with {self.num_problems} problems and {self.num_replies:,} replies"
        found = [f"{number:3}. {finding}" for number, finding in enumerate(self.findings, start=1)]
        result = f"FOUND {len(found)}:" if found else "Nothing found."
        return "\n".join([head, result, *found, "Seen:", *(f"   - {note}" for note in self.notes)])

    def as_json(self) -> Mapping[str, Any]:
        """Return it as JSON values. Any: those."""
        return asdict(self)


def finding_from(says: str, results: Sequence[ProbeResult]) -> Finding:
    """Return a finding with its shortest reply as the example."""
    example = min(results, key=lambda result: len(result.probe.text))
    return Finding(
        says=says,
        reply=cut(example.probe.text),
        answer=cut(example.probe.case.answer),
        got=describe(example.score),
        times=len(results),
    )


def grouped(results: Iterable[tuple[str, ProbeResult]]) -> dict[str, list[ProbeResult]]:
    """Group results by a text, in the order of each group's first result."""
    groups: dict[str, list[ProbeResult]] = {}
    for text, result in results:
        groups.setdefault(text, []).append(result)
    return groups


def describe(score: Score) -> str:
    """Return a score's value or outcome, and its reason."""
    got = score.outcome if score.value is None else f"{score.value:.6g}"
    return f"{got} ({cut(score.why)})" if score.why else got


def describe_times(seconds: Sequence[float]) -> str:
    """Return the percentiles of some times in milliseconds."""
    values = np.percentile(np.asarray(seconds), PERCENTILES) * 1000
    return ", ".join(
        f"{'max' if percent == 100 else f'p{percent}'} {value:.3g} ms"
        for percent, value in zip(PERCENTILES, values, strict=True)
    )


def cut(text: str) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
