"""What a check of a reward found, for people, for programs and for tests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reasonrl.author.bench import Answered
from reasonrl.types import Score

MOST_SHOWN: Final = 70
"""Characters of a reply that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with a reward, in words."""

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
    """What was seen that is no fault, and what could not be checked."""

    def __str__(self) -> str:
        """Return it as a page."""
        head = f"{self.reward}: checked with {self.num_problems} problems and {self.num_replies:,} replies"
        found = [f"{number:3}. {finding}" for number, finding in enumerate(self.findings, start=1)]
        verdict = f"FOUND {len(found)}:" if found else "Nothing found."
        return "\n".join([head, verdict, *found, "Seen:", *(f"   - {note}" for note in self.notes)])

    def as_json(self) -> Mapping[str, Any]:
        """Return it as JSON values. Any: those."""
        findings = [
            {name: getattr(finding, name) for name in ("says", "reply", "answer", "got", "times")}
            for finding in self.findings
        ]
        return {
            "reward": self.reward,
            "num_problems": self.num_problems,
            "num_replies": self.num_replies,
            "findings": findings,
            "notes": list(self.notes),
        }


def finding(says: str, shown: Sequence[Answered]) -> Finding:
    """Return a finding with its shortest reply as the example."""
    example = min(shown, key=lambda answered: len(answered.question.text))
    return Finding(
        says=says,
        reply=cut(example.question.text),
        answer=cut(example.question.case.answer),
        got=describe(example.score),
        times=len(shown),
    )


def grouped(answered: Iterable[tuple[str, Answered]]) -> dict[str, list[Answered]]:
    """Put replies together by what they say of the reward, in the order of their first."""
    groups: dict[str, list[Answered]] = {}
    for says, item in answered:
        groups.setdefault(says, []).append(item)
    return groups


def describe(score: Score) -> str:
    """Return what a reply got, in words."""
    got = score.outcome if score.value is None else f"{score.value:.6g}"
    return f"{got} ({cut(score.why)})" if score.why else got


def cut(text: str) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
