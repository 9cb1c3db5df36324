"""What a run achieved on held-out problems: figures before and after training, and the problems gained and lost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reasonrl.errors import ReasonRLError
from reasonrl.evaluation.compare import Comparison, Figure
from reasonrl.evaluation.files import read_measured
from reasonrl.evaluation.primaries import Model, Pair, compare_models, preregistered, with_primaries
from reasonrl.evaluation.results import SampleResult
from reasonrl.preference.card import HeldoutEvaluation, Interval
from reasonrl.run.files.directory import EVALUATION
from reasonrl.run.files.steps import by_step
from reasonrl.run.history import HeldoutResult, History
from reasonrl.run.report.figures import Value, figures_of

MAX_CHANGED: Final = 8
"""Most problems that are shown of those gained, and of those lost, in each suite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of a suite before and after."""

    label: str
    base: Value | None
    """None where there was no such figure."""
    trained: Value
    figure: Figure | None
    """The paired difference and what goes with it; None where there is only one measurement."""

    @property
    def is_primary(self) -> bool:
        """Whether the figure was named before the run began."""
        return self.figure is not None and self.figure.is_primary


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A held-out problem on which the model became better or worse."""

    problem_id: str
    before: float
    after: float
    base: SampleResult
    """A sample that shows what is meant: of a problem gained, the worst one before and the best one after."""
    trained: SampleResult


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteReport:
    """One held-out suite of one run."""

    run: int
    suite: str
    role: str
    num_problems: int
    base_step: int | None
    """None where the model was measured once."""
    trained_step: int
    rows: tuple[Row, ...]
    """The suite's own figure first."""
    gained: tuple[Changed, ...] = ()
    lost: tuple[Changed, ...] = ()
    num_gained: int = 0
    num_lost: int = 0
    note: str = ""
    """Why there is no paired difference, where there is none."""

    @property
    def headline(self) -> tuple[Row, ...]:
        """The figures that were named beforehand, or the suite's own."""
        return tuple(row for row in self.rows if row.is_primary) or self.rows[:1]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyReport:
    """What a run made of a reward model's accuracy on held-out pairs."""

    run: int
    base_step: int | None
    base: HeldoutEvaluation | None
    trained_step: int
    trained: HeldoutEvaluation | None
    """None where no two held-out completions of a prompt can be compared."""

    @property
    def figures(self) -> Mapping[str, tuple[Interval | None, Interval]]:
        """Accuracy, that of length alone, and their difference: before training, and now."""
        if self.trained is None:
            return {}
        names = {
            "accuracy": "accuracy",
            f"prefer the {self.trained.length_rule}": "length_only",
            "difference": "difference",
        }
        return {
            label: (getattr(self.base, name) if self.base else None, getattr(self.trained, name))
            for label, name in names.items()
        }


def suite_reports(run: History, position: int) -> Iterator[SuiteReport]:
    """Yield what is known of each held-out suite of a run, the first measurement beside the last."""
    for suite in dict.fromkeys(result.suite for result in run.evaluations):
        results = [result for result in run.evaluations if result.suite == suite]
        yield _once(results[-1], position) if len(results) == 1 else _twice(results[0], results[-1], position)


def accuracy_report(run: History, position: int) -> AccuracyReport | None:
    """Return the measurements of a run that trains a reward model; None where there is none."""
    steps = [step for step, folder in by_step(run.path / "evals") if (folder / EVALUATION).is_file()]
    if not steps:
        return None
    read = {step: _accuracy(run, step) for step in (steps[0], steps[-1])}
    return AccuracyReport(
        run=position,
        base_step=steps[0] if len(steps) > 1 else None,
        base=read[steps[0]] if len(steps) > 1 else None,
        trained_step=steps[-1],
        trained=read[steps[-1]],
    )


def between_runs(runs: Sequence[History], names: Sequence[str]) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Compare the last evaluations of the other runs with that of the first.

    Returns:
        The comparisons, and what to say of runs that cannot be compared.
    """
    pairs: list[Pair] = []
    notes: list[str] = []
    measured = [(name, _last_folders(run)) for run, name in zip(runs, names, strict=True)]
    (first_name, first), *others = measured
    for name, folders in others:
        if not first or not folders:
            continue
        try:
            pairs += compare_models([_model(first_name, first), _model(name, folders)])
        except ReasonRLError as error:
            notes.append(f"{first_name} and {name} are not compared: {error}")
    return tuple(pairs), tuple(notes)


def _last_folders(run: History) -> Mapping[str, HeldoutResult]:
    return {result.suite: result for result in run.evaluations}


def _model(name: str, results: Mapping[str, HeldoutResult]) -> Model:
    return Model(name=name, measured={suite: read_measured(result.folder) for suite, result in results.items()})


def _accuracy(run: History, step: int) -> HeldoutEvaluation | None:
    found = run.directory.read_evaluation(step)
    return None if found is None else HeldoutEvaluation.model_validate(found)


def _once(result: HeldoutResult, position: int) -> SuiteReport:
    """Describe a suite that was measured at one step: before training, as the run has not come to another."""
    rows = [Row(label=one.label, base=None, trained=one, figure=None) for one in figures_of(result).values()]
    return _report(result, position, rows, base_step=None)


def _twice(first: HeldoutResult, last: HeldoutResult, position: int) -> SuiteReport:
    """Describe a suite that was measured before training and later."""
    try:
        comparison = _compared(first, last)
    except ReasonRLError as error:
        return _report(last, position, _rows(first, last, {}), base_step=first.step, note=str(error))
    rows = _rows(first, last, {figure.id: figure for figure in comparison.figures})
    gained, lost = _changed(comparison, sign=1), _changed(comparison, sign=-1)
    return _report(
        last,
        position,
        rows,
        base_step=first.step,
        gained=tuple(gained[:MAX_CHANGED]),
        lost=tuple(lost[:MAX_CHANGED]),
        num_gained=len(gained),
        num_lost=len(lost),
    )


def _compared(first: HeldoutResult, last: HeldoutResult) -> Comparison:
    """Pair two measurements, and mark the figures that the run named beforehand."""
    models = [_model(name, {result.suite: result}) for name, result in (("base", first), ("trained", last))]
    pairs = compare_models(models)
    named = [primary for primary in preregistered([last.folder]) if primary.suite == pairs[0].suite]
    return with_primaries(pairs, named)[0].comparison


def _report(last: HeldoutResult, position: int, rows: Sequence[Row], **others: Any) -> SuiteReport:
    """Return a report with what the last measurement says of the suite. Any: fields of the report."""
    about = last.summary["suite"]
    return SuiteReport(
        run=position,
        suite=last.suite,
        role=about["role"],
        num_problems=about["num_problems"],
        trained_step=last.step,
        rows=tuple(rows),
        **others,
    )


def _rows(first: HeldoutResult, last: HeldoutResult, figures: Mapping[str, Figure]) -> list[Row]:
    before = figures_of(first)
    return [
        Row(label=one.label, base=before.get(name), trained=one, figure=figures.get(name))
        for name, one in figures_of(last).items()
    ]


def _changed(comparison: Comparison, *, sign: int) -> list[Changed]:
    """Return the problems that became better, or worse where the sign is negative, the greatest change first."""
    before, after = comparison.a.values_by_problem(), comparison.b.values_by_problem()
    samples_a, samples_b = comparison.a.samples_by_problem(), comparison.b.samples_by_problem()
    moved = [problem for problem in before if sign * (after[problem] - before[problem]) > 0]
    ordered = sorted(moved, key=lambda problem: -abs(after[problem] - before[problem]))
    return [
        Changed(
            problem_id=problem,
            before=before[problem],
            after=after[problem],
            base=min(samples_a[problem], key=lambda row: sign * row.value),
            trained=max(samples_b[problem], key=lambda row: sign * row.value),
        )
        for problem in ordered
    ]
