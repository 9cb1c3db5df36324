"""Find faults of a reward by its behavior alone: what it pays for, what breaks it, what it depends on.

A reply counts as paid when it gets more than half of what separates a right answer from a wrong one, so that a little
for a good form is not a fault. Left out: rewards that read images, tool calls or several turns.
"""

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from reasonrl.config.settings import PluginRef, RewardRef, ScoringSettings
from reasonrl.evaluation.replies import ANSWER_FORMATS, AnswerFormat
from reasonrl.plugins.lookup import Plugins
from reasonrl.scoring.contract import Reward, load_reward
from reasonrl_author.attacks import (
    both_orders,
    code_payloads,
    empty_replies,
    exploits,
    stress_replies,
)
from reasonrl_author.calibration import (
    Calibration,
    calibrate,
    right_replies,
    swapped_reply,
    wrong_answer,
    wrong_replies,
)
from reasonrl_author.cases import Case, make_cases
from reasonrl_author.probes import Probe, ProbeResult, ProbeRunner
from reasonrl_author.report import Finding, Report, describe, finding_from, grouped
from reasonrl_author.stability import check_stability

MAX_ATTACKED_CASES: Final = 3
"""Problems that every attack is tried on."""

MAX_NAMED: Final = 4
"""Kinds of text that a finding names."""

MAX_TIMEOUTS: Final = 6
"""Replies that run out of time before the check is ended."""

PROBES_PER_ROUND: Final = 50
"""Replies that are scored before timeouts are counted again."""

NUM_REPEATED: Final = 60
"""Replies that are scored again to see whether they get the same values."""

MAX_REPEATED_LENGTH: Final = 10_000
"""Characters of a reply that is scored again."""

CODE: Final = "an answer that is code"


class _HangsError(Exception):
    """The reward runs out of time again and again."""


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
    """Check a reward with replies that are right, wrong, hostile and malformed.

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
    with ProbeRunner(loaded, settings) as runner:
        check = _Check(loaded, cases, runner)
        check.run(answers_matter=bool(answers or wrong or pairs))
        if not check.hangs:
            check.add(check_stability(runner, loaded, check.sample(), settings))
    return check.report()


class _Check:
    """One check: sends probes to the reward and collects findings and notes."""

    def __init__(self, reward: Reward, cases: Sequence[Case], runner: ProbeRunner) -> None:
        self._reward, self._cases, self._runner = reward, cases, runner
        self._results: list[ProbeResult] = []
        self._calibration: Calibration | None = None
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.hangs = False
        """Whether it was ended because the reward takes too long."""

    def run(self, answers_matter: bool) -> None:
        """Send all probes that need no second set of workers; end early for a reward that hangs.

        Args:
            answers_matter: the author gave answers, so a reward that ignores them is at fault.
        """
        try:
            self._send_all(answers_matter)
        except _HangsError:
            self.hangs = True
            self.notes.append(f"not checked: the rest, since {MAX_TIMEOUTS} replies and more ran out of time")
        self._find_failures()
        self._find_constant_value()
        self._note_values()

    def _send_all(self, answers_matter: bool) -> None:
        self._calibrate(answers_matter)
        if self._calibration is not None:
            self._find_paid_wrong_answers(self._calibration)
            self._find_exploits(self._calibration)
            self._find_guessing(self._calibration)
        empty = self._score([Probe(self._cases[0], attack.text, attack.says) for attack in empty_replies()])
        if self._calibration is not None:
            self._add_paid(empty, self._calibration)
        self._score([Probe(self._cases[0], attack.text, attack.says) for attack in stress_replies(self._main_format())])
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
            num_replies=len(self._results),
            findings=tuple(self.findings),
            notes=tuple(self.notes),
        )

    def sample(self) -> list[Probe]:
        """Return probes of every kind that were scored, to be scored again."""
        scored = [
            result.probe
            for result in self._results
            if len(result.probe.text) < MAX_REPEATED_LENGTH and result.score.outcome not in ("timeout", "error")
        ]
        return scored[:: max(1, len(scored) // NUM_REPEATED)]

    def _main_format(self) -> AnswerFormat:
        formats = self._calibration.formats if self._calibration is not None else ()
        return (*formats, *ANSWER_FORMATS)[0]

    def _score(self, probes: Sequence[Probe]) -> list[ProbeResult]:
        """Score probes and remember the results.

        Raises:
            _HangsError: many of them ran out of time.
        """
        results: list[ProbeResult] = []
        while len(results) < len(probes):
            begin = len(results)
            # The first round is small, so that a reward that always hangs costs few timeouts.
            size = PROBES_PER_ROUND if self._results else MAX_TIMEOUTS
            results += self._runner.score_each(probes[begin : begin + size])
            self._results += results[begin:]
            if sum(result.score.outcome == "timeout" for result in self._results) >= MAX_TIMEOUTS:
                raise _HangsError
        return results

    def _calibrate(self, answers_matter: bool) -> None:
        """Find out in which formats the reward reads answers and what a right one is worth."""
        probes = list(right_replies(self._cases))
        right = self._score(probes)
        swapped = self._score([swapped_reply(probe) for probe in probes])
        wrong = [*swapped, *self._score(list(wrong_replies(self._cases)))]
        if all(result.score.outcome == "unscorable" for result in [*right, *wrong]):
            says = "it can judge none of these problems: give it some that it is made for (--task, --pairs)"
            self.findings.append(finding_from(says, right))
            return
        self._calibration = calibrate(right, swapped, wrong)
        if self._calibration is None:
            self._note_ignored_answers(answers_matter)
            return
        self._note_formats(self._calibration)
        self._find_unpaid_right_answers(self._calibration, right)

    def _note_ignored_answers(self, answers_matter: bool) -> None:
        says = "a right answer is worth no more than a wrong one, however it is marked"
        named = sorted({"answer", "answers"} & set(self._reward.arguments))
        if answers_matter or named:
            self.findings.append(Finding(says=f"{says}{f', although it asks for {named[0]!r}' if named else ''}"))
        self.notes.append(f"not checked: what answers are paid, since {says}")

    def _note_formats(self, calibration: Calibration) -> None:
        read = calibration.format_names
        others = [one.name for one in ANSWER_FORMATS if one.name not in read]
        not_read = f"; not as {', '.join(others)}" if others else ""
        self.notes += [
            f"reads answers marked as {', '.join(read) or 'none of the usual marks'}{not_read}",
            f"a right answer gets up to {calibration.top:.6g}, a wrong one at least {calibration.bottom:.6g}",
        ]

    def _find_unpaid_right_answers(self, calibration: Calibration, right: Sequence[ProbeResult]) -> None:
        by_problem: dict[int, list[ProbeResult]] = {}
        for result in right:
            if result.probe.format in (*calibration.format_names, ""):
                by_problem.setdefault(id(result.probe.case), []).append(result)
        unpaid = [results[0] for results in by_problem.values() if not any(map(calibration.pays, results))]
        if unpaid:
            self.findings.append(finding_from("a right answer is not paid", unpaid))
        replies = [result for result in right if not result.probe.format and not calibration.pays(result)]
        if others := [result for result in replies if result not in unpaid]:
            self.findings.append(finding_from("a reply that is said to be right is not paid", others))

    def _find_paid_wrong_answers(self, calibration: Calibration) -> None:
        read = (*calibration.format_names, "")
        wrong = [result for result in self._results if result.probe.says and result.probe.format in read]
        self._add_paid(wrong, calibration)

    def _find_exploits(self, calibration: Calibration) -> None:
        """Try every exploit in every format that the reward reads."""
        probes = [
            Probe(case, attack.text, attack.says, one.name)
            for case in _attacked(self._cases)
            for one in calibration.formats
            for attack in exploits(one, case.answer, wrong_answer(case), case.prompt)
        ]
        self._add_paid(self._score(probes), calibration)

    def _add_paid(self, results: Sequence[ProbeResult], calibration: Calibration) -> None:
        paid = grouped((f"paid: {result.probe.says}", result) for result in results if calibration.pays(result))
        self.findings += [finding_from(says, members) for says, members in paid.items()]

    def _find_guessing(self, calibration: Calibration) -> None:
        """See which of two answers counts; a reward that pays both orders pays for guessing."""
        texts = [
            (case, *both_orders(one, case.answer, wrong_answer(case)))
            for case in _attacked(self._cases)
            for one in calibration.formats
        ]
        right_first = self._score([Probe(case, text) for case, text, _ in texts])
        right_last = self._score([Probe(case, text) for case, _, text in texts])
        paid = list(zip(map(calibration.pays, right_first), map(calibration.pays, right_last), strict=True))
        if both := [result for result, orders in zip(right_first, paid, strict=True) if all(orders)]:
            says = "paid: any of several answers, whether the right one comes first or last"
            self.findings.append(finding_from(says, both))
        first, last = (any(orders) for orders in zip(*paid, strict=True)) if paid else (False, False)
        counts = {(True, True): "either", (True, False): "the first", (False, True): "the last"}
        self.notes.append(f"of two answers in one reply {counts.get((first, last), 'neither')} counts")

    def _find_execution(self) -> None:
        """See whether the text of a reply is run as code."""
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, str(number)) for number, _ in enumerate(code_payloads(""))]
            texts = [list(code_payloads(str(file)))[number] for number, file in enumerate(files)]
            results = self._score([Probe(self._cases[0], self._main_format().reply(text), CODE) for text in texts])
            time.sleep(0.1)  # a shell may still be running what it was told
            ran = [result for file, result in zip(files, results, strict=True) if file.exists()]
        if ran:
            self.findings.append(finding_from("RUNS THE TEXT OF A REPLY AS CODE", ran))

    def _find_failures(self) -> None:
        """Find replies on which the reward raised or took too long."""
        failed = [result for result in self._results if result.score.outcome in ("error", "timeout")]
        for cause, results in grouped((_cause(result), result) for result in failed).items():
            texts = list(grouped((result.probe.says or "an ordinary reply", result) for result in results))
            more = f" and {len(texts) - MAX_NAMED} other kinds of text" if len(texts) > MAX_NAMED else ""
            self.findings.append(finding_from(f"{cause} on {', '.join(texts[:MAX_NAMED])}{more}", results))

    def _find_constant_value(self) -> None:
        values = {result.value for result in self._results if result.value is not None}
        if len(values) == 1 and self._calibration is None and not self.hangs:
            says = f"every reply gets {values.pop():.6g}, whatever it says: nothing is learned"
            self.findings.append(Finding(says=says))

    def _note_values(self) -> None:
        """Note the range of values, and the best reply of a reward that ignores answers."""
        scored = [result for result in self._results if result.value is not None]
        if not scored:
            return
        low, high = (pick(scored, key=lambda result: result.value or 0.0) for pick in (min, max))
        self.notes.append(f"values seen: {low.value:.6g} to {high.value:.6g}")
        if self._calibration is None:
            self.notes.append(f"most was paid for {finding_from('', [high]).reply!r}: {describe(high.score)}")


def _cause(result: ProbeResult) -> str:
    """Return how a reward failed, the same text for all failures of one kind."""
    if result.score.outcome == "timeout":
        return "runs out of time"
    kind, colon, _ = result.score.why.partition(":")
    return f"fails ({kind})" if colon else "fails"


def _attacked(cases: Sequence[Case]) -> Sequence[Case]:
    """Return the problems that attacks are tried on, each with another answer."""
    return list({case.answer: case for case in cases}.values())[:MAX_ATTACKED_CASES]
