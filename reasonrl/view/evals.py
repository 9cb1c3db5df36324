"""Held-out results: the completions of one measurement, and two measurements paired by problem."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeAlias

from reasonrl.errors import ConfigError
from reasonrl.evaluation.compare import compare
from reasonrl.evaluation.figures import is_lower_better
from reasonrl.evaluation.files import RESULTS, Measured, read_measured
from reasonrl.evaluation.results import SampleResult, SuiteResult
from reasonrl.run.history import HeldoutResult, History
from reasonrl.view.runs import NotFoundError, RunFolder

PAGE: Final = 50
"""Problems, or completions, of a page."""

KEPT: Final = 6
"""Measurements that stay in memory: to read one takes up to seconds."""

TEXT: Final = 4_000
"""Characters of a completion in a list."""

OUTCOMES: Final = ("right", "wrong", "partly", "unparsed", "truncated", "failed")
"""What completions can be filtered by."""

CHANGES: Final = ("won", "lost", "tied")

Json: TypeAlias = dict[str, Any]
"""Any: JSON values."""


class Evaluations:
    """Measurements of the runs in a folder, by ``RUN@STEP`` and suite.

    Args:
        folder: the runs.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._lock = Lock()
        self._kept: OrderedDict[tuple[Path, int], Measured] = OrderedDict()

    def samples(self, run: str, step: int, suite: str, given: Mapping[str, str]) -> Json:
        """Return some completions of a measurement, those of one problem beside each other, and the figures.

        Args:
            run: name of the run.
            step: after which it was measured.
            suite: what was measured.
            given: ``outcome``, ``text``, ``problem`` and ``offset``.

        Raises:
            NotFoundError: nothing was measured there.
            ReasonRLError: it cannot be read, or a filter makes no sense.
        """
        found = self._result(run, step, suite)
        outcome, offset = given.get("outcome", ""), _offset(given)
        if outcome and outcome not in OUTCOMES:
            raise ConfigError(f"outcome: {outcome!r} is none of {', '.join(OUTCOMES)}.")
        wanted, problem = given.get("text", "").lower(), given.get("problem", "")
        rows = [
            row
            for row in self._measured(found).result.rows
            if (not problem or row.problem_id == problem)
            and (not outcome or outcome in _outcomes(row))
            and (not wanted or wanted in row.completion.lower() or wanted in row.prompt.lower())
        ]
        return {
            "metrics": found.summary["metrics"],
            "suite": found.summary["suite"],
            "sampling": found.summary["sampling"],
            "total": len(rows),
            "rows": [sample_values(row) for row in rows[offset : offset + PAGE]],
        }

    def pair(self, a: str, b: str, suite: str, given: Mapping[str, str]) -> Json:
        """Return two measurements of a suite, compared problem by problem; B minus A.

        Args:
            a: ``RUN@STEP`` of the one.
            b: of the other.
            suite: what was measured.
            given: ``change`` (won, lost, tied), ``text`` and ``offset``.

        Raises:
            NotFoundError: nothing was measured there.
            DataError: they cannot be compared.
            ReasonRLError: one cannot be read, or a filter makes no sense.
        """
        change, offset = given.get("change", ""), _offset(given)
        if change and change not in CHANGES:
            raise ConfigError(f"change: {change!r} is none of {', '.join(CHANGES)}.")
        first, second = (self._measured(self._result(*_place(text), suite)).result for text in (a, b))
        comparison = compare(first, second, allow_prompt_mismatch=True)
        problems = list(_problems(first, second))
        wanted = given.get("text", "").lower()
        chosen = [
            problem
            for problem in problems
            if (not change or problem["change"] == change)
            and (not wanted or any(wanted in str(problem[name]).lower() for name in ("prompt", "id", "answer")))
        ]
        return {
            "a": a,
            "b": b,
            "suite": suite,
            "same_prompts": comparison.same_prompts,
            "figures": [
                {**asdict(figure), "lower_is_better": is_lower_better(figure.id)} for figure in comparison.figures
            ],
            "counts": {name: sum(problem["change"] == name for problem in problems) for name in CHANGES},
            "total": len(chosen),
            "problems": chosen[offset : offset + PAGE],
        }

    def problem(self, a: str, b: str, suite: str, problem: str) -> Json:
        """Return what both models answered to one problem.

        Raises:
            NotFoundError: there is no such measurement, or no such problem.
            ReasonRLError: one cannot be read.
        """
        results = [self._measured(self._result(*_place(text), suite)).result for text in (a, b)]
        rows = [[row for row in result.rows if row.problem_id == problem] for result in results]
        if not all(rows):
            raise NotFoundError(f"suite {suite!r} has no problem {problem!r} there.")
        return {"a": [*map(sample_values, rows[0])], "b": [*map(sample_values, rows[1])]}

    def _result(self, run: str, step: int, suite: str) -> HeldoutResult:
        history: History = self._folder.open(run)
        for result in history.evaluations:
            if (result.step, result.suite) == (step, suite):
                return result
        raise NotFoundError(f"suite {suite!r} was not measured after step {step} of {run}.")

    def _measured(self, found: HeldoutResult) -> Measured:
        key = (found.folder, (found.folder / RESULTS).stat().st_mtime_ns)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        measured = read_measured(found.folder)
        with self._lock:
            self._kept[key] = measured
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return measured


def sample_values(row: SampleResult) -> Json:
    """Return what is shown of one completion."""
    return {
        **{name: value for name, value in asdict(row).items() if name not in ("completion", "prompt", "seed")},
        "prompt": _cut(row.prompt),
        "completion": _cut(row.completion),
    }


def _cut(text: str) -> Json:
    return {"text": text[:TEXT], "start": 0, "length": len(text)}


def _outcomes(row: SampleResult) -> Iterator[str]:
    if row.outcome != "scored":
        yield "failed"
    else:
        yield "right" if row.value >= 1 else "wrong" if row.value <= 0 else "partly"
    if row.parsed is None:
        yield "unparsed"
    if row.finish_reason == "length":
        yield "truncated"


def _problems(a: SuiteResult, b: SuiteResult) -> Iterator[Json]:
    """Yield the problems, the greatest difference first; a draw is won and lost by nobody."""
    before, after = a.values_by_problem(), b.values_by_problem()
    first: dict[str, SampleResult] = {}
    for row in a.rows:
        first.setdefault(row.problem_id, row)
    for problem in sorted(before, key=lambda each: -abs(after[each] - before[each])):
        difference = after[problem] - before[problem]
        yield {
            "id": problem,
            "a": before[problem],
            "b": after[problem],
            "change": "won" if difference > 0 else "lost" if difference < 0 else "tied",
            "answer": first[problem].answer,
            "prompt": _cut(first[problem].prompt)["text"][-400:],
        }


def _place(text: str) -> tuple[str, int]:
    """Read ``RUN@STEP``."""
    run, _, step = text.rpartition("@")
    if not run or not step.isdecimal():
        raise ConfigError(f"{text!r}: write a measurement as RUN@STEP, such as quickstart@60.")
    return run, int(step)


def _offset(given: Mapping[str, str]) -> int:
    text = given.get("offset", "0")
    if not text.isdecimal():
        raise ConfigError(f"offset: {text!r} is no number of rows.")
    return int(text)
