"""Has a model seen a suite before? It is given the first part of each problem and continues it (arXiv:2507.10532).

A model that completes problems word for word has seen them: Qwen2.5-Math-7B completes 54.6 % of MATH-500 from the first
60 % of their words, and none of a suite made later. The figure is read beside that of a control, which the model cannot
have seen: the same problems with other numbers, or a suite that was just generated. Left out: what was seen in another
wording, and answers that were seen without their problems.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from reasonrl.evaluation.estimates import Estimate, PairedDifference, mean_estimate, paired_difference
from reasonrl.evaluation.results import SuiteResult
from reasonrl.evaluation.texts import text_of
from reasonrl.plugins.types import Measurement, Suite
from reasonrl.types import Problem, Rollout

SHARE: Final = 0.6
"""Share of a problem's words that the model is given."""
MIN_WORDS: Final = 10
"""Words of a problem that is probed: of a shorter one, the rest is guessed too easily."""
TEMPLATE: Final = "bare"
"""The text itself, without a chat's marks: a completion, not an answer."""
ROUGE: Final = "rouge_l"
WORD: Final = re.compile(r"\S+")
DIGITS: Final = re.compile(r"\d+")


def probes(problems: Sequence[Problem], share: float = SHARE) -> list[Problem]:
    """Return problems whose prompt is the first part of a text and whose answer is the rest of it.

    Problems of fewer than ``MIN_WORDS`` words are left out.

    Args:
        problems: whose texts.
        share: of the words, that the first part has.
    """
    return [probe for problem in problems if (probe := _probe(problem, share)) is not None]


def _probe(problem: Problem, share: float) -> Problem | None:
    text = text_of(problem).strip()
    ends = [word.end() for word in WORD.finditer(text)]
    if len(ends) < MIN_WORDS:
        return None
    end = ends[min(len(ends) - 1, max(1, round(share * len(ends)))) - 1]
    return replace(problem, prompt=text[:end], answer=text[end:], messages=None, meta={})


def renumbered(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems that have numbers with other ones: as many digits, the same wherever a number is repeated."""
    return [
        replace(problem, prompt=_with_other_numbers(text, problem.id), messages=None)
        for problem in problems
        if DIGITS.search(text := text_of(problem))
    ]


def _with_other_numbers(text: str, seed: str) -> str:
    random = Random(seed)
    chosen: dict[str, str] = {}
    for number in DIGITS.findall(text):
        if number not in chosen:
            chosen[number] = _another(number, random, {*chosen.values()})
    return DIGITS.sub(lambda found: chosen[found[0]], text)


def _another(number: str, random: Random, taken: set[str]) -> str:
    """Return another number of as many digits, if possible one that stands for no other."""
    least = 10 ** (len(number) - 1) if len(number) > 1 else 1
    drawn = [str(random.randrange(least, 10 * least)) for _ in range(20)]
    free = [other for other in drawn if other != number and other not in taken]
    return next(iter(free), next((other for other in drawn if other != number), str(least)))


def probe_suites(name: str, found: Sequence[Problem], lengths: Sequence[int]) -> Iterator[Suite]:
    """Yield suites that continue texts greedily, one for each length, so that none samples far beyond its texts.

    Args:
        name: of the probe; a length is added to it.
        found: the problems of :func:`probes`.
        lengths: for each, tokens that the rest of its text has at most.
    """
    limits = [1 << max(3, (length - 1).bit_length()) for length in lengths]
    for limit in sorted({*limits}):
        yield Suite(
            name=f"{name}, {limit} tokens",
            problems=[problem for problem, its in zip(found, limits, strict=True) if its == limit],
            metric=completes,
            further_metrics={ROUGE: rouge_l},
            template=TEMPLATE,
            max_new_tokens=limit,
        )


def completes(rollout: Rollout) -> Measurement:
    """1 if the completion begins with the rest of the text, word for word and in every sign but white space."""
    said, rest = " ".join(rollout.text.split()), " ".join(rollout.problem.answer.split())
    goes_on = said[len(rest) : len(rest) + 1].isalnum() and rest[-1:].isalnum()
    return Measurement(float(said.startswith(rest) and not goes_on))


def rouge_l(rollout: Rollout) -> Measurement:
    """ROUGE-L of the rest of the text and as many words of the completion: their longest common subsequence's share."""
    rest = rollout.problem.answer.split()
    return Measurement(_common(rest, rollout.text.split()[: len(rest)]) / len(rest))


def _common(words: Sequence[str], others: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(others) + 1)
    for word in words:
        before = row
        row = [0]
        for place, other in enumerate(others):
            row.append(before[place] + 1 if word == other else max(before[place + 1], row[place]))
    return row[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One text that a model continued."""

    problem_id: str
    given: str
    rest: str
    completion: str
    exact: float
    rouge_l: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The texts of a suite, or of a control."""

    name: str
    num_left_out: int
    """Problems that were not probed: too short, or for other numbers without a number."""
    rows: tuple[Completion, ...]

    @classmethod
    def of(cls, name: str, results: Sequence[SuiteResult], found: Sequence[Problem], num_problems: int) -> "Completed":
        """Return what the probes of a suite's problems gave."""
        by_id = {problem.id: problem for problem in found}
        rows = (
            Completion(
                problem_id=row.problem_id,
                given=by_id[row.problem_id].prompt,
                rest=by_id[row.problem_id].answer,
                completion=row.completion,
                exact=row.value,
                rouge_l=row.metrics.get(ROUGE, 0.0),
            )
            for result in results
            for row in result.rows
        )
        return cls(name=name, num_left_out=num_problems - len(found), rows=tuple(rows))

    @property
    def exact(self) -> Estimate:
        """Share of the texts that are completed word for word, with Wilson's interval."""
        return mean_estimate([row.exact for row in self.rows])

    @property
    def rouge_l(self) -> float:
        """Mean of ROUGE-L over the texts."""
        return sum(row.rouge_l for row in self.rows) / len(self.rows)

    def as_json(self) -> Mapping[str, Any]:
        """Return the figures. Any: JSON values."""
        exact = self.exact
        return {
            "name": self.name,
            "num_problems": len(self.rows),
            "num_left_out": self.num_left_out,
            "exact": exact.value,
            "interval": [exact.lower, exact.upper],
            "level": exact.level,
            "method": exact.method,
            "rouge_l": self.rouge_l,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Contamination:
    """What a model completed of a suite and of its control."""

    model: str
    share: float
    suite: Completed
    control: Completed

    @property
    def difference(self) -> PairedDifference | None:
        """Of the suite less the control, on the same problems; None where the control has others."""
        exact = {row.problem_id: row.exact for row in self.suite.rows}
        pairs = [(row.exact, exact[row.problem_id]) for row in self.control.rows if row.problem_id in exact]
        if len(pairs) < len(self.control.rows) or not pairs:
            return None
        control, suite = zip(*pairs, strict=True)
        return paired_difference(control, suite)

    @property
    def is_seen(self) -> bool:
        """Whether the suite is completed more often than the control, beyond chance."""
        difference = self.difference
        return self.suite.exact.lower > self.control.exact.upper if difference is None else difference.lower > 0

    def as_json(self) -> Mapping[str, Any]:
        """Return the figures. Any: JSON values."""
        difference = self.difference
        paired = None if difference is None else [difference.difference, difference.lower, difference.upper]
        sides = {"suite": self.suite.as_json(), "control": self.control.as_json()}
        return {"model": self.model, "share": self.share, **sides, "difference": paired, "is_seen": self.is_seen}

    def __str__(self) -> str:
        """Return it as a table with a sentence."""
        width = max(len(side.name) for side in (self.suite, self.control))
        lines = [
            f"{self.model} given the first {self.share:.0%} of each problem's words, greedy",
            *(_line(side, width) for side in (self.suite, self.control)),
        ]
        if (difference := self.difference) is not None:
            lines.append(
                f"difference on the same {difference.num_problems} problems: {difference.difference:+.1%} "
                f"[{difference.lower:+.1%}, {difference.upper:+.1%}]"
            )
        seen = "the model completes the suite more often than the control: it has likely seen it before"
        return "\n".join([*lines, seen if self.is_seen else "no sign that the model has seen the suite before"])


def _line(side: Completed, width: int) -> str:
    exact = side.exact
    left_out = f", {side.num_left_out} left out" if side.num_left_out else ""
    return (
        f"  {side.name:<{width}}  completed {exact.value:.1%} [{exact.lower:.1%}, {exact.upper:.1%}]  "
        f"ROUGE-L {side.rouge_l:.3f}  ({len(side.rows)} problems{left_out})"
    )
