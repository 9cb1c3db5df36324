"""Everything that a report says, collected from run directories."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reasonrl.errors import ReasonRLError
from reasonrl.evaluation.primaries import Pair
from reasonrl.run.files.manifest import Manifest
from reasonrl.run.history import Happening, History
from reasonrl.run.metric_names import describe
from reasonrl.run.report.charts import Chart, Mark, further_charts, main_charts, marks
from reasonrl.run.report.heldout import AccuracyReport, SuiteReport, accuracy_report, between_runs, suite_reports
from reasonrl.run.report.names import run_names
from reasonrl.run.report.rollouts import StepRollouts, step_rollouts
from reasonrl.run.report.settings import differences
from reasonrl.run.report.thin import MAX_POINTS

MAX_EVENTS: Final = 200
"""Most events of a run in the page, the last ones."""

CONTROLS: Final[Mapping[str, str]] = {
    "random": "a random reward took the place of the run file's rewards",
    "format": "a reward for the form of the answer alone took the place of the run file's rewards",
    "inverted": "the run file's rewards have the opposite sign",
}
"""What a control run learned from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """One metric over a run."""

    name: str
    unit: str
    meaning: str
    count: int
    first: float
    last: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What a report says of one run."""

    position: int
    name: str
    path: str
    kind: str
    """What it trains: ``a policy``."""
    manifest: Manifest
    control: str
    """What took the place of its rewards; empty where it is no control run."""
    steps_done: int
    num_steps: int | None
    """None where the length is given in epochs."""
    description: str
    settings: str
    suites: tuple[SuiteReport, ...]
    accuracy: AccuracyReport | None
    rollouts: tuple[StepRollouts, ...]
    events: tuple[Happening, ...]
    num_events: int
    num_alarms: int
    checkpoints: tuple[int, ...]
    metrics: tuple[MetricRow, ...]
    notes: tuple[str, ...]
    """What could not be read, and what was left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a report says."""

    runs: tuple[RunReport, ...]
    main: tuple[Chart, ...]
    further: tuple[Chart, ...]
    marks: tuple[Mark, ...]
    differences: tuple[tuple[str, Sequence[Any]], ...]
    """Settings that differ between runs. Any: JSON values."""
    pairs: tuple[Pair, ...]
    """Last evaluations compared with those of the first run."""
    notes: tuple[str, ...]


def collect(runs: Sequence[History]) -> Content:
    """Read what a report says of runs; what cannot be read is named in it."""
    names = run_names(runs)
    pairs, notes = between_runs(runs, names)
    return Content(
        runs=tuple(_run_report(run, position, names[position]) for position, run in enumerate(runs)),
        main=tuple(main_charts(runs, names)),
        further=tuple(further_charts(runs, names)),
        marks=tuple(mark for position, run in enumerate(runs) for mark in marks(run, position)),
        differences=tuple(differences(runs)),
        pairs=pairs,
        notes=notes,
    )


def _run_report(run: History, position: int, name: str) -> RunReport:
    rollouts, unread = _readable_rollouts(run)
    is_long = any(len(series.steps) > MAX_POINTS for series in run.metrics.values())
    thin = (
        f"Curves are thinned to {MAX_POINTS} points; the least and greatest values are among them." if is_long else ""
    )
    return RunReport(
        position=position,
        name=name,
        path=str(run.path),
        kind=run.directory.kind.trains,
        manifest=run.manifest,
        control=CONTROLS.get(run.manifest.control or "", run.manifest.control or ""),
        steps_done=run.steps_done,
        num_steps=run.config.run.steps,
        description=run.config.description,
        settings=(run.path / "config.resolved.yaml").read_text(encoding="utf-8"),
        suites=tuple(suite_reports(run, position)),
        accuracy=accuracy_report(run, position),
        rollouts=rollouts,
        events=run.happenings[-MAX_EVENTS:],
        num_events=len(run.happenings),
        num_alarms=len(run.alarms),
        checkpoints=tuple(sorted(run.checkpoints)),
        metrics=tuple(_metric_rows(run)),
        notes=tuple(note for note in (thin, unread) if note),
    )


def _readable_rollouts(run: History) -> tuple[tuple[StepRollouts, ...], str]:
    """Return the completions that are shown, or why there are none."""
    try:
        return tuple(step_rollouts(run)), ""
    except ReasonRLError as error:
        return (), f"Completions are not shown: {error}"


def _metric_rows(run: History) -> Iterator[MetricRow]:
    for name, series in run.metrics.items():
        known = describe(name)
        yield MetricRow(
            name=name,
            unit=known.unit if known else "",
            meaning=known.meaning.replace("`", "") if known else "",
            count=len(series.values),
            first=series.values[0],
            last=series.values[-1],
            least=min(series.values),
            greatest=max(series.values),
        )
