"""The charts of a report: which metrics stand together, with intervals, for one run or several over one another."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from reasonrl.run.history import Happening, HeldoutResult, History, Series
from reasonrl.run.metric_names import describe
from reasonrl.run.report.figures import main_figure
from reasonrl.run.report.thin import kept, rounded

INTERVAL_FACTOR: Final = 1.96
"""Standard errors on each side of a 95 % interval."""
MARKED: Final = ("alarm", "rolled_back")
"""Kinds of events that are marked in the charts."""
MAX_MARKS: Final = 200
"""Most marks of a run, the first ones."""
MARK_CHARACTERS: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve."""

    label: str
    run: int
    """Position of its run among those of the report."""
    color: int
    dash: int = 0
    x: tuple[int, ...]
    """Steps."""
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    """Lower ends of 95 % intervals, one for each value, or none."""
    high: tuple[float, ...] = ()
    points: bool = False
    """Whether each value has a dot: those of evaluations, which are few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves with one pair of axes."""

    title: str
    unit: str
    about: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that stands at a step of every chart."""

    run: int
    step: int
    kind: str
    """``alarm`` or ``checkpoint``."""
    text: str


@dataclass(frozen=True, slots=True)
class Panel:
    """Metrics that belong together, by the names of :mod:`reasonrl.run.metric_names`."""

    title: str
    families: tuple[str, ...]
    about: str = ""
    """What it shows, where the first metric's own meaning does not say it."""


PHASES: Final = ("sampling", "scoring", "waiting", "learning", "weight_sync")
"""Parts of a step's time."""
OF_BOTH: Final = (
    tuple(f"{method}/reward_{which}" for method in ("dpo", "kto") for which in ("chosen", "rejected")),
    "Log-ratio to the initial model times beta: the reward that DPO and KTO imply.",
)
PANELS: Final = (
    Panel("Reward", ("reward/mean",), "Mean over the step's completions before penalties; 95% interval over problems."),
    Panel("Reward by part", ("reward/{reward}", "reward/{reward}/{part}"), "Each reward's own values and their parts."),
    Panel("Accuracy", ("rm/accuracy", "heldout/accuracy", "heldout/length_only"), "Pairs ordered rightly."),
    Panel("Loss", ("rm/loss", "heldout/loss", "sft/loss", "dpo/loss", "kto/loss")),
    Panel("Token accuracy", ("sft/token_accuracy",)),
    Panel("Margin", ("rm/margin", "heldout/margin", "dpo/margin", "kto/margin")),
    Panel("Reward of chosen and rejected", *OF_BOTH),
    Panel("Completion length", ("completion/length_mean",)),
    Panel("Entropy", ("policy/entropy", "sft/entropy", "dpo/entropy", "kto/entropy")),
    Panel("KL to the initial policy", ("policy/kl",)),
    Panel("Gradient norm", ("policy/grad_norm", "rm/grad_norm", "sft/grad_norm", "dpo/grad_norm", "kto/grad_norm")),
    Panel("Truncated and repetitive", ("completion/truncated", "completion/repetition"), "Share of the completions."),
    Panel("Useful groups", ("groups/useful",)),
    Panel("Mismatch of sampler and learner", ("mismatch/mean", "push/mismatch_mean")),
    Panel(
        "Seconds by phase",
        tuple(f"seconds/{phase}" for phase in PHASES),
        "Where a step's time goes.",
    ),
)
"""The main charts in their order; what is in none of them is drawn below, one chart for each family."""

_PICTURED: Final = ("Held-out", "Accuracy", "Reward", "Loss", "Completion length", "Margin", "Entropy", "Gradient norm")
"""Charts for a picture of a run, the most telling first, by the beginning of their titles."""


def main_charts(runs: Sequence[History], names: Sequence[str]) -> list[Chart]:
    """Return the main charts that there is something to draw for, held-out suites after the reward.

    Args:
        runs: one or more.
        names: what they are called in the report.
    """
    panels = [chart for panel in PANELS if (chart := _panel_chart(panel, runs, names)) is not None]
    rewards = sum(chart.title.startswith("Reward") for chart in panels)
    return [*panels[:rewards], *_heldout_charts(runs, names), *panels[rewards:]]


def further_charts(runs: Sequence[History], names: Sequence[str]) -> list[Chart]:
    """Return a chart for each family of metrics that is in no main one."""
    shown = {family for panel in PANELS for family in panel.families} | {"heldout/{suite}"}
    families = {_family(name): None for run in runs for name in run.metrics}
    panels = [Panel(family, (family,)) for family in sorted(families) if family not in shown and not _is_error(family)]
    return [chart for panel in panels if (chart := _panel_chart(panel, runs, names)) is not None]


def pictured_charts(charts: Sequence[Chart], count: int) -> list[Chart]:
    """Return the charts that tell most of a run."""
    ranked = [[chart for chart in charts if chart.title.split(":")[0] == title] for title in _PICTURED]
    first, others = [same[0] for same in ranked if same], [chart for same in ranked for chart in same[1:]]
    return [*first, *others][:count]


def marks(run: History, position: int) -> list[Mark]:
    """Return the alarms, roll-backs and checkpoints of a run."""
    happened = [one for one in run.happenings if one.kind in MARKED][:MAX_MARKS]
    saved = [Mark(position, step, "checkpoint", "checkpoint") for step in sorted(run.checkpoints)[:MAX_MARKS]]
    return [*(Mark(position, one.step, "alarm", _mark_text(one)) for one in happened), *saved]


def chart_values(chart: Chart) -> dict[str, Any]:
    """Return a chart as ``charts.js`` takes it. Any: JSON values."""
    lines = [
        {
            name: value
            for name in Line.__dataclass_fields__
            if (value := getattr(line, name)) is not False and value != ()
        }
        for line in chart.lines
    ]
    return {"title": chart.title, "unit": chart.unit, "about": chart.about, "lines": lines}


def _mark_text(one: Happening) -> str:
    text = one.message if len(one.message) <= MARK_CHARACTERS else f"{one.message[:MARK_CHARACTERS]}..."
    return f"{one.kind.replace('_', ' ')}: {text}"


def _panel_chart(panel: Panel, runs: Sequence[History], names: Sequence[str]) -> Chart | None:
    """Return the chart of a panel; None where no run has any of its metrics."""
    metrics = [
        name
        for family in panel.families
        for name in dict.fromkeys(name for run in runs for name in run.metrics)
        if _family(name) == family
    ]
    lines = [
        line
        for index, metric in enumerate(metrics)
        for position, run in enumerate(runs)
        if (line := _metric_line(run, metric, position)) is not None
    ]
    if not lines:
        return None
    known = describe(metrics[0])
    return Chart(
        title=panel.title,
        unit=known.unit if known else "",
        about=panel.about or (known.meaning.replace("`", "") if known else ""),
        lines=tuple(_styled(lines, metrics, names)),
    )


def _metric_line(run: History, metric: str, position: int) -> Line | None:
    """Return the curve of one metric, labeled by its name, with its interval where its standard error is known."""
    series = run.metrics.get(metric)
    if series is None:
        return None
    errors = run.metrics.get(_error_of(metric))
    margins = dict(zip(errors.steps, errors.values, strict=True)) if errors else {}
    line = _line(series, metric, position)
    if not all(step in margins for step in line.x):
        return line
    widths = [INTERVAL_FACTOR * margins[step] for step in line.x]
    return replace(
        line,
        low=tuple(rounded(value - width) for value, width in zip(line.y, widths, strict=True)),
        high=tuple(rounded(value + width) for value, width in zip(line.y, widths, strict=True)),
    )


def _line(series: Series, label: str, position: int) -> Line:
    places = kept(series.values)
    return Line(
        label=label,
        run=position,
        color=position,
        x=tuple(series.steps[place] for place in places),
        y=tuple(rounded(series.values[place]) for place in places),
        points=label.startswith("heldout/"),
    )


def _styled(lines: Iterable[Line], metrics: Sequence[str], names: Sequence[str]) -> Iterator[Line]:
    """Tell curves apart: those of one run by color, several metrics of several runs by color and dash."""
    short = _short(metrics)
    for line in lines:
        index = metrics.index(line.label)
        if len(names) == 1:
            yield replace(line, label=short[line.label], color=index)
        else:
            label = names[line.run] if len(metrics) == 1 else f"{names[line.run]}: {short[line.label]}"
            yield replace(line, label=label, dash=index)


def _short(metrics: Sequence[str]) -> Mapping[str, str]:
    """Return the names of metrics, of several without what all of them begin with."""
    is_common = len(metrics) > 1 and len({name.split("/")[0] for name in metrics}) == 1
    return {name: name.split("/", 1)[-1] if is_common else name for name in metrics}


def _heldout_charts(runs: Sequence[History], names: Sequence[str]) -> Iterator[Chart]:
    """Yield a chart for each held-out suite, with the intervals of its ``results.json``."""
    for suite in dict.fromkeys(result.suite for run in runs for result in run.evaluations):
        lines, last = [], None
        for position, run in enumerate(runs):
            if results := [result for result in run.evaluations if result.suite == suite]:
                lines.append(_heldout_line(results, position, names[position] if len(runs) > 1 else suite))
                last = results[-1]
        if last is not None:
            yield Chart(title=f"Held-out: {suite}", unit="share", about=_about(last), lines=tuple(lines))


def _heldout_line(results: Sequence[HeldoutResult], position: int, label: str) -> Line:
    figures = [main_figure(result) for result in results]
    return Line(
        label=label,
        run=position,
        color=position,
        x=tuple(result.step for result in results),
        y=tuple(rounded(figure.value) for figure in figures),
        low=tuple(rounded(figure.lower) for figure in figures),
        high=tuple(rounded(figure.upper) for figure in figures),
        points=True,
    )


def _about(result: HeldoutResult) -> str:
    """Say what a suite's figure is the mean of."""
    figure = main_figure(result)
    return f"{figure.label} over {figure.num_problems} problems, 95% intervals; step 0 is the model before training."


def _family(metric: str) -> str:
    known = describe(metric)
    return known.name if known else metric


def _error_of(metric: str) -> str:
    """Name the metric that is the standard error of another."""
    head, _, rest = metric.partition("/")
    return f"{head}_stderr/{rest}"


def _is_error(family: str) -> bool:
    """Whether a family holds standard errors, which are drawn as intervals."""
    return family.split("/")[0].endswith("_stderr")
