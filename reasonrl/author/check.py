"""Look for what is wrong with a reward, by its behaviour alone: what it pays, what breaks it, what it depends on.

A reply counts as paid when it earns more than half of what the right answer is worth over a wrong one, so that small
change for a good form is no fault. Left out: rewards that read images, tools or several turns.
"""

import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from reasonrl.author.bench import Answered, Bench, Question
from reasonrl.author.cases import Case, make_cases
from reasonrl.author.report import Finding, Report, describe, finding, grouped
from reasonrl.author.stability import steadiness
from reasonrl.author.tricks import MARKS, Mark, breaking, empty_replies, farming, payloads, two_answers
from reasonrl.config import PluginRef, RewardRef, ScoringSettings
from reasonrl.plugins import Plugins
from reasonrl.scoring.contract import Reward, load_reward

FARMED_CASES: Final = 3
"""Problems that every trick is tried on."""

MOST_NAMED: Final = 4
"""Kinds of text that a finding names."""

AT_ONCE: Final = 50
"""Replies that are asked about before the next look at what came back."""

MOST_TIMEOUTS: Final = 6
"""Replies that may run out of time before the check is broken off."""

CODE: Final = "an answer that is code"
SAID_WRONG: Final = "a reply that is said to be wrong"


class _HangsError(Exception):
    """The reward runs out of time again and again."""


@dataclass(frozen=True, slots=True)
class Standard:
    """What the reward pays for right and wrong answers, and how it reads them."""

    marks: tuple[Mark, ...]
    """The ways to mark an answer that make a difference."""
    top: float
    """Most that a right answer got."""
    bottom: float
    """Least that a wrong answer got."""

    def pays(self, answered: Answered) -> bool:
        """Say whether a reply got more than half of what the right answer is worth."""
        return answered.value is not None and answered.value > self.bottom + 0.5 * (self.top - self.bottom)


def check_reward(
    reward: str,
    *,
    answers: Sequence[str] = (),
    wrong: Sequence[str] = (),
    pairs: Path | None = None,
    task: PluginRef | str | None = None,
    num_problems: int = 20,
    params: Mapping[str, Any] | None = None,
    settings: ScoringSettings | None = None,
    plugins: Plugins | None = None,
) -> Report:
    """Check a reward with replies that are right, wrong, hostile and strange.

    Args:
        reward: an installed name, ``./file.py:name`` or ``package.module:name``.
        answers: right answers to try; numbers if nothing else is given either.
        wrong: wrong answers to all of them.
        pairs: a file of rows with id, answer, text and expected.
        task: gives problems of its training split.
        num_problems: how many of the task's.
        params: the reward's parameters. Any: their types are the function's.
        settings: workers and time limit.
        plugins: where rewards and tasks come from; the installed ones if None.

    Raises:
        ReasonRLError: there is no such reward or task, or a file cannot be read. What the reward does raises nothing.
    """
    plugins, settings = plugins or Plugins(), settings or ScoringSettings()
    loaded = load_reward(RewardRef(name=reward, params=dict(params or {})), plugins)
    task = PluginRef(name=task) if isinstance(task, str) else task
    cases = make_cases(answers, wrong, pairs, task, num_problems, plugins)
    with Bench(loaded, settings) as bench:
        check = _Check(loaded, cases, bench)
        check.run(about_answers=bool(answers or wrong or pairs))
        if not check.hangs:
            check.add(steadiness(bench, loaded, check.sample(), settings))
    return check.report()


class _Check:
    """The course of one check."""

    def __init__(self, reward: Reward, cases: Sequence[Case], bench: Bench) -> None:
        """Begin with nothing found."""
        self._reward, self._cases, self._bench = reward, cases, bench
        self._answered: list[Answered] = []
        self._standard: Standard | None = None
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.hangs = False
        """Whether it was broken off because the reward takes too long."""

    def run(self, about_answers: bool) -> None:
        """Ask about everything that needs no second set of workers; a reward that hangs is not asked for ever.

        Args:
            about_answers: whoever asks has said what is right, so a reward to which it is all the same is at fault.
        """
        try:
            self._ask_everything(about_answers)
        except _HangsError:
            self.hangs = True
            self.notes.append(f"not checked: the rest, since {MOST_TIMEOUTS} replies and more ran out of time")
        self._find_failures()
        self._find_sameness()
        self._note_values()

    def _ask_everything(self, about_answers: bool) -> None:
        """Ask about right, wrong, hostile and strange replies, in this order."""
        self._read_answers(about_answers)
        if self._standard is not None:
            self._find_wrong(self._standard)
            self._farm(self._standard)
            self._guess_twice(self._standard)
        empty = self._ask([Question(self._cases[0], trick.text, trick.says) for trick in empty_replies()])
        if self._standard is not None:
            self._find_paid(empty, self._standard)
        self._ask([Question(self._cases[0], trick.text, trick.says) for trick in breaking(self.main_mark())])
        self._find_execution()

    def add(self, seen: Iterable[Finding | str]) -> None:
        """Add findings and notes."""
        for item in seen:
            if isinstance(item, Finding):
                self.findings.append(item)
            else:
                self.notes.append(item)

    def report(self) -> Report:
        """Return what was found."""
        return Report(
            reward=self._reward.name,
            num_problems=len(self._cases),
            num_replies=len(self._answered),
            findings=tuple(self.findings),
            notes=tuple(self.notes),
        )

    def main_mark(self) -> Mark:
        """Return the mark that hostile answers are put in."""
        return self._standard.marks[0] if self._standard is not None and self._standard.marks else MARKS[0]

    def sample(self) -> list[Question]:
        """Return replies of every kind, none of them huge, for asking again."""
        short = [item.question for item in self._answered if len(item.question.text) < 10_000]
        failed = {id(item.question) for item in self._answered if item.score.outcome in ("timeout", "error")}
        calm = [question for question in short if id(question) not in failed]
        return calm[:: max(1, len(calm) // 60)]

    def _ask(self, questions: Sequence[Question]) -> list[Answered]:
        """Score replies and remember the scores.

        Raises:
            _HangsError: many of them ran out of time.
        """
        answered: list[Answered] = []
        while len(answered) < len(questions):
            begin = len(answered)
            answered += self._bench.ask(questions[begin : begin + (AT_ONCE if self._answered else MOST_TIMEOUTS)])
            self._answered += answered[begin:]
            if sum(item.score.outcome == "timeout" for item in self._answered) >= MOST_TIMEOUTS:
                raise _HangsError
        return answered

    def _read_answers(self, about_answers: bool) -> None:
        """Find out how the reward reads answers and what a right one is worth.

        Each right reply is judged by a wrong answer too: where that changes nothing, the answer makes no difference.
        """
        questions = list(_right_replies(self._cases))
        right = self._ask(questions)
        swapped = self._ask([_swapped(question) for question in questions])
        wrong = [*swapped, *self._ask(list(_wrong_replies(self._cases)))]
        if all(item.score.outcome == "unscorable" for item in [*right, *wrong]):
            says = "it can judge none of these problems: give it some that it is made for (--task, --pairs)"
            self.findings.append(finding(says, right))
            return
        self._standard = _standard_of(right, swapped, wrong)
        if self._standard is None:
            self._answers_are_ignored(about_answers)
            return
        self._note_marks(self._standard)
        self._find_rejected(self._standard, right)

    def _answers_are_ignored(self, about_answers: bool) -> None:
        """Say that right and wrong answers are worth the same."""
        says = "a right answer is worth no more than a wrong one, however it is marked"
        names_it = sorted({"answer", "answers"} & set(self._reward.arguments))
        if about_answers or names_it:
            self.findings.append(Finding(says=f"{says}{f', although it asks for {names_it[0]!r}' if names_it else ''}"))
        self.notes.append(f"not checked: what answers are paid, since {says}")

    def _note_marks(self, standard: Standard) -> None:
        """Say how answers are read."""
        read = [mark.name for mark in standard.marks]
        others = [mark.name for mark in MARKS if mark.name not in read]
        not_read = f"; not as {', '.join(others)}" if others else ""
        self.notes.append(f"reads answers marked as {', '.join(read) or 'none of the usual marks'}{not_read}")
        self.notes.append(f"a right answer gets up to {standard.top:.6g}, a wrong one at least {standard.bottom:.6g}")

    def _find_rejected(self, standard: Standard, right: Sequence[Answered]) -> None:
        """Find problems whose right answer is not paid in any mark."""
        marks = {mark.name for mark in standard.marks}
        by_problem: dict[int, list[Answered]] = {}
        for item in right:
            if item.question.mark in marks or not item.question.mark:
                by_problem.setdefault(id(item.question.case), []).append(item)
        rejected = [items[0] for items in by_problem.values() if not any(map(standard.pays, items))]
        if rejected:
            self.findings.append(finding("a right answer is not paid", rejected))
        given = [item for item in right if not item.question.mark and not standard.pays(item)]
        if given := [item for item in given if item not in rejected]:
            self.findings.append(finding("a reply that is said to be right is not paid", given))

    def _find_wrong(self, standard: Standard) -> None:
        """Find wrong answers that are paid."""
        marks = {mark.name for mark in standard.marks}
        wrong = [item for item in self._answered if item.question.says and item.question.mark in (*marks, "")]
        self._find_paid(wrong, standard)

    def _farm(self, standard: Standard) -> None:
        """Try every trick in every mark that the reward reads."""
        questions = [
            Question(case, trick.text, trick.says, mark.name)
            for case in _some(self._cases)
            for mark in standard.marks
            for trick in farming(mark, case.answer, _wrong_answer(case), case.prompt)
        ]
        self._find_paid(self._ask(questions), standard)

    def _find_paid(self, answered: Sequence[Answered], standard: Standard) -> None:
        """Add what is paid and should not be."""
        paid = grouped((f"paid: {item.question.says}", item) for item in answered if standard.pays(item))
        self.findings += [finding(says, items) for says, items in paid.items()]

    def _guess_twice(self, standard: Standard) -> None:
        """See which of two answers counts; a reward that pays both orders can be guessed at."""
        texts = [
            (case, *two_answers(mark, case.answer, _wrong_answer(case)))
            for case in _some(self._cases)
            for mark in standard.marks
        ]
        right_first = self._ask([Question(case, text) for case, text, _ in texts])
        right_last = self._ask([Question(case, text) for case, _, text in texts])
        pairs = [(standard.pays(one), standard.pays(other)) for one, other in zip(right_first, right_last, strict=True)]
        if both := [one for one, paid in zip(right_first, pairs, strict=True) if all(paid)]:
            says = "paid: any of several answers, whether the right one comes first or last"
            self.findings.append(finding(says, both))
        first, last = (any(paid) for paid in zip(*pairs, strict=True)) if pairs else (False, False)
        self.notes.append(f"of two answers in one reply {_which(first, last)} counts")

    def _find_execution(self) -> None:
        """See whether the text of a reply is run as code."""
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, str(number)) for number, _ in enumerate(payloads(""))]
            texts = [list(payloads(str(file)))[number] for number, file in enumerate(files)]
            answered = self._ask([Question(self._cases[0], self.main_mark().reply(text), CODE) for text in texts])
            time.sleep(0.1)  # what a shell was told to do may still be under way
            ran = [item for file, item in zip(files, answered, strict=True) if file.exists()]
        if ran:
            self.findings.append(finding("RUNS THE TEXT OF A REPLY AS CODE", ran))

    def _find_failures(self) -> None:
        """Find replies that the reward raised on, or took too long for."""
        failed = [item for item in self._answered if item.score.outcome in ("error", "timeout")]
        for cause, items in grouped((_cause(item), item) for item in failed).items():
            texts = list(grouped((item.question.says or "an ordinary reply", item) for item in items))
            more = f" and {len(texts) - MOST_NAMED} other kinds of text" if len(texts) > MOST_NAMED else ""
            self.findings.append(finding(f"{cause} on {', '.join(texts[:MOST_NAMED])}{more}", items))

    def _find_sameness(self) -> None:
        """Find a reward that gives one value whatever the reply."""
        values = {item.value for item in self._answered if item.value is not None}
        if len(values) == 1 and self._standard is None and not self.hangs:
            self.findings.append(
                Finding(says=f"every reply gets {values.pop():.6g}, whatever it says: nothing is learnt")
            )

    def _note_values(self) -> None:
        """Say what values were seen, and what got the most where answers make no difference."""
        scored = [item for item in self._answered if item.value is not None]
        if not scored:
            return
        low, high = (pick(scored, key=lambda item: item.value or 0.0) for pick in (min, max))
        self.notes.append(f"values seen: {low.value:.6g} to {high.value:.6g}")
        if self._standard is None:
            self.notes.append(f"most was paid for {finding('', [high]).reply!r}: {describe(high.score)}")


def _right_replies(cases: Sequence[Case]) -> Iterator[Question]:
    """Yield the right answer of each problem in every mark, and the replies that are right."""
    for case in cases:
        yield from (Question(case, mark.reply(case.answer), mark=mark.name) for mark in MARKS)
        yield from (Question(case, text) for text in case.right)


def _wrong_replies(cases: Sequence[Case]) -> Iterator[Question]:
    """Yield wrong answers of each problem in every mark, and the replies that are wrong."""
    for case in cases:
        for answer in case.wrong_answers:
            yield from (Question(case, mark.reply(answer), "a wrong answer", mark.name) for mark in MARKS)
        yield from (Question(case, text, SAID_WRONG) for text in case.wrong)


def _swapped(question: Question) -> Question:
    """Return a right reply, to be judged by a wrong answer."""
    case = question.case
    problem = replace(case.problem, answer=_wrong_answer(case))
    return replace(question, case=replace(case, problem=problem), says="a wrong answer")


def _standard_of(right: Sequence[Answered], swapped: Sequence[Answered], wrong: Sequence[Answered]) -> Standard | None:
    """Return what right and wrong answers are worth, or None where it is the same.

    Args:
        right: right replies.
        swapped: the same, judged by a wrong answer.
        wrong: these and other wrong replies.
    """
    pairs = [(one, other) for one, other in zip(right, swapped, strict=True)]
    read = {one.question.mark for one, other in pairs if _worth(one) > _worth(other)}
    if not read and any(item.question.says == SAID_WRONG for item in wrong):
        read = {""}
    tops = [item.value for item in right if item.value is not None and item.question.mark in read]
    bottoms = [item.value for item in wrong if item.value is not None and item.question.mark in read]
    if not tops or not bottoms or max(tops) <= min(bottoms):
        return None
    return Standard(tuple(mark for mark in MARKS if mark.name in read), max(tops), min(bottoms))


def _worth(item: Answered) -> float:
    """Return the value of a reply; one without a value is worth least."""
    return -math.inf if item.value is None else item.value


def _cause(item: Answered) -> str:
    """Return how a reward failed, the same for all failures of one kind."""
    if item.score.outcome == "timeout":
        return "runs out of time"
    kind, colon, _ = item.score.why.partition(":")
    return f"fails ({kind})" if colon else "fails"


def _some(cases: Sequence[Case]) -> Sequence[Case]:
    """Return the problems that tricks are tried on: those with an answer of their own come first."""
    distinct = list({case.answer: case for case in cases}.values())
    return distinct[:FARMED_CASES]


def _wrong_answer(case: Case) -> str:
    """Return one wrong answer."""
    return case.wrong_answers[0] if case.wrong_answers else f"7{case.answer}"


def _which(first: bool, last: bool) -> str:
    """Say which of two answers counts."""
    return {(True, True): "either", (True, False): "the first", (False, True): "the last"}.get((first, last), "neither")
