"""Check a task or a suite before anything is trained on it or measured with it.

Its own right answers must score 1 and empty replies 0; the answer to another problem, and a mangled one, must not score
1; ids must be unique and the same on a second load; training and held-out problems must be apart.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from reasonrl.errors import ConfigError, DataError, UnreachableError
from reasonrl.evaluation.overlap import find_overlap
from reasonrl.evaluation.replies import SOLUTION, Way, another_answer, mangled, rollout_of, ways
from reasonrl.run.task_grading import Grade, Graded, Graders
from reasonrl.run.task_prompts import PromptMaker, prompt_maker
from reasonrl.run.task_report import Finding, ReplyCounts, TaskReport, spread
from reasonrl.run.task_source import TaskSource
from reasonrl.types import Problem, Split

MAX_OPEN: Final = 0.5
"""Share of solutions of other problems that may be right, where problems have many solutions."""
NUM_PROBED: Final = 8
"""Problems on which every way to mark an answer is tried; the rest is tried with the best one first."""


def check_task(
    source: TaskSource,
    graders: Graders,
    *,
    reward: str | None = None,
    num_problems: int | None = 100,
    model: str | None = None,
) -> TaskReport:
    """Load a task or suite twice, score right and wrong replies to a sample of its problems, and say what is wrong.

    Args:
        source: what to check.
        graders: start what scores.
        reward: what scores in place of the suite's metric, or of the reward that a task's documentation names.
        num_problems: problems of each side that replies are made for, evenly spread over it; None takes all.
        model: whose tokens prompts are counted in; None counts characters only.

    Raises:
        ConfigError: nothing is there to score with.
        ReasonRLError: it cannot be loaded.
    """
    reward = reward or (None if source.suite_ref is not None else source.usual_reward)
    loaded = _load(source)
    sides = loaded.problems
    notes = [f"no {split} problems: {why}" for split, why in loaded.missing.items()]
    check = _Check(source, prompt_maker(source, model), num_problems, notes=notes)
    check.score(sides, _grade(source, reward, graders))
    check.look_at(sides)
    return check.report(sides, f"reward {reward!r}" if reward else f"the metric of suite {source.name!r}")


def _grade(source: TaskSource, reward: str | None, graders: Graders) -> Grade:
    if reward is not None:
        return graders.reward(reward)
    if source.suite is None:
        raise ConfigError(f"{source.name!r} has no suite, and its documentation names no reward: give --reward NAME.")
    return graders.metric(source.suite)


@dataclass(frozen=True, slots=True)
class _Sides:
    """The problems of both splits."""

    problems: Mapping[Split, Sequence[Problem]]
    """A split that there is none of is left out."""
    missing: Mapping[Split, str]
    """Why splits are left out."""


def _load(source: TaskSource) -> _Sides:
    """Return the problems of both splits: the suite's as the held-out ones, where there is a suite.

    Raises:
        DataError: there are no problems at all.
    """
    problems: dict[Split, Sequence[Problem]] = {}
    missing: dict[Split, DataError] = {}
    if source.suite is not None:
        problems["heldout"] = source.suite.problems
    splits: tuple[Split, ...] = () if source.task is None else ("train", "heldout")
    for split in (split for split in splits if split not in problems):
        try:
            problems[split] = source.problems(split)
        except UnreachableError:
            raise
        except DataError as error:
            missing[split] = error
    if not problems:
        raise next(iter(missing.values()))
    return _Sides(problems, {split: str(error).split("\n")[0] for split, error in missing.items()})


@dataclass
class _Check:
    """One check: what was found until now."""

    source: TaskSource
    prompts: PromptMaker
    num_problems: int | None
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, ReplyCounts] = field(default_factory=dict)
    ways: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    num_checked: dict[str, int] = field(default_factory=dict)

    def score(self, sides: Mapping[Split, Sequence[Problem]], grade: Grade) -> None:
        """Score right, wrong, mangled and empty replies to the sample."""
        sampled = {split: sample(problems, self.num_problems) for split, problems in sides.items()}
        self.num_checked = {split: len(problems) for split, problems in sampled.items()}
        problems = [problem for side in sampled.values() for problem in side]
        found = self._gold(problems, grade)
        self._wrong(found, grade)
        self._graded("empty", [(problem, "") for problem in problems], grade)

    def _gold(self, problems: Sequence[Problem], grade: Grade) -> list[tuple[Problem, Way, str]]:
        """Find the way in which each right answer scores 1; return those that have one, with their way and answer."""
        answered = [problem for problem in problems if any(way.gold(problem) for way in ways())]
        if len(answered) < len(problems):
            self.notes.append(f"right answers: {len(problems) - len(answered)} of {len(problems)} problems have none")
        right: dict[str, Way] = {}
        tried: list[tuple[Problem, Graded]] = []
        for way in self._best_first(answered, grade):
            waiting = [
                (problem, gold) for problem in answered if problem.id not in right if (gold := way.gold(problem))
            ]
            graded = self._send([(problem, way.format.reply(gold)) for problem, gold in waiting], grade)
            for (problem, _), one in zip(waiting, graded, strict=True):
                tried.append((problem, one))
                if one.value is not None and one.value >= 1:
                    right[problem.id] = way
        self.ways = Counter(way.name for way in right.values())
        self._find_failed_gold(answered, right, tried)
        first = next(iter(right.values()), next(ways()))
        usual = [(problem, right.get(problem.id, first)) for problem in answered]
        return [(problem, way, gold) for problem, way in usual if (gold := way.gold(problem))]

    def _best_first(self, answered: Sequence[Problem], grade: Grade) -> list[Way]:
        """Return all ways, that in which most right answers of some problems score 1 first."""
        probed, scores = sample(answered, NUM_PROBED), []
        for way in ways():
            replies = [(problem, way.format.reply(gold)) for problem in probed if (gold := way.gold(problem))]
            scores.append((way, sum((one.value or 0) >= 1 for one in self._send(replies, grade))))
        return [way for way, _ in sorted(scores, key=lambda scored: -scored[1])]

    def _find_failed_gold(
        self, answered: Sequence[Problem], right: Mapping[str, Way], tried: Sequence[tuple[Problem, Graded]]
    ) -> None:
        best: dict[str, Graded] = {}
        for problem, one in tried:
            if problem.id not in best or (one.value or 0) > (best[problem.id].value or 0):
                best[problem.id] = one
        values = [1.0 if problem.id in right else best[problem.id].value for problem in answered]
        self.counts["right"] = ReplyCounts.of(values)
        failed = [problem for problem in answered if problem.id not in right]
        if failed:
            self.findings.append(
                Finding.of("a right answer does not score 1", [(one, one.answer, best[one.id].value) for one in failed])
            )

    def _wrong(self, found: Sequence[tuple[Problem, Way, str]], grade: Grade) -> None:
        """Score the right answers to other problems, and mangled ones."""
        golds = [gold for _, _, gold in found]
        wrong = [
            (problem, way.format.reply(other))
            for place, (problem, way, gold) in enumerate(found)
            if (other := another_answer(gold, [*golds[place + 1 :], *golds[:place]])) is not None
        ]
        self._graded("wrong", wrong, grade, is_open=any(way.column == SOLUTION for _, way, _ in found))
        self._graded(
            "mangled", [(problem, way.format.reply(mangled(gold, way.format))) for problem, way, gold in found], grade
        )

    def _graded(
        self, kind: str, replies: Sequence[tuple[Problem, str]], grade: Grade, *, is_open: bool = False
    ) -> None:
        """Score replies that must not score 1, and nothing at all where they say nothing.

        Args:
            kind: of replies.
            replies: problems and texts.
            grade: scores them.
            is_open: problems have many right answers, so that some of these may be right.
        """
        graded = self._send(replies, grade)
        self.seconds += [one.run_s for one in graded]  # not of the first calls, which import what they need
        self.counts[kind] = ReplyCounts.of([one.value for one in graded])
        paid = [
            (problem, text, one.value)
            for (problem, text), one in zip(replies, graded, strict=True)
            if one.value is not None and (one.value > 0 if kind == "empty" else one.value >= 1)
        ]
        if len(paid) > (MAX_OPEN * len(replies) if is_open else 0):
            self.findings.append(Finding.of(f"{'an' if kind == 'empty' else 'a'} {kind} reply scores", paid))
        elif paid:
            self.notes.append(f"{kind}: {len(paid)} of {len(replies)} solutions of other problems are right here too")

    def _send(self, replies: Sequence[tuple[Problem, str]], grade: Grade) -> Sequence[Graded]:
        """Score replies, and note what the scoring itself does wrong."""
        graded = grade([rollout_of(one, text, prompt=self.prompts.text(one)) for one, text in replies])
        failed = [(*reply, one) for reply, one in zip(replies, graded, strict=True) if one.failure]
        if failed:
            says = f"scoring fails ({failed[0][2].failure})"
            self.findings.append(Finding.of(says, [(problem, text, None) for problem, text, _ in failed]))
        return graded

    def look_at(self, sides: Mapping[Split, Sequence[Problem]]) -> None:
        """Check ids, a second load, and that the sides are apart."""
        for split, problems in sides.items():
            repeated = [one for one, count in Counter(problem.id for problem in problems).items() if count > 1]
            if repeated:
                self.findings.append(Finding(f"{len(repeated)} ids of {split} problems stand for several", repeated))
        again = _load(replace(self.source)).problems
        for split, problems in sides.items():
            if [one.id for one in problems] != [one.id for one in again.get(split, ())]:
                self.findings.append(Finding(f"a second load gives other {split} problems, or another order"))
        if {"train", "heldout"} <= sides.keys():
            self._look_at_split(sides)

    def _look_at_split(self, sides: Mapping[Split, Sequence[Problem]]) -> None:
        overlap = find_overlap(sides["train"], sides["heldout"])
        if overlap.matches and self.source.returns_all_for_either_split:
            self.notes.append("splits: all problems are on both sides, since heldout_share is 0")
        elif overlap.is_refused:
            ids = [match.heldout_id for match in overlap.refused]
            self.findings.append(Finding(f"the splits are not apart: {overlap.summary}", ids))
        else:
            self.notes.append(f"splits: {overlap.summary}")

    def report(self, sides: Mapping[Split, Sequence[Problem]], scored_by: str) -> TaskReport:
        """Return what was found."""
        problems = [problem for side in sides.values() for problem in side]
        return TaskReport(
            name=self.source.name,
            scored_by=scored_by,
            num_problems={split: len(side) for split, side in sides.items()},
            num_checked=self.num_checked,
            ways=dict(self.ways),
            replies=self.counts,
            prompt_characters=spread([len(self.prompts.text(problem)) for problem in problems]),
            prompt_tokens=self.prompts.token_spread(problems),
            seconds=(statistics.median(self.seconds), max(self.seconds)) if self.seconds else None,
            findings=tuple(self.findings),
            notes=tuple(self.notes),
        )


def sample(problems: Sequence[Problem], num_problems: int | None) -> list[Problem]:
    """Return so many problems, evenly spread over all; all of them where there are no more, or for None."""
    if num_problems is None or len(problems) <= num_problems:
        return list(problems)
    return [problems[place * len(problems) // num_problems] for place in range(num_problems)]
