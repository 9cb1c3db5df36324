"""A judgement as a table in the terminal."""

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from reasonrl.evaluation.estimates import Estimate, PairedDifference
from reasonrl.preference.evaluation.best_of_n import BestOfNReport
from reasonrl.preference.evaluation.judgement import Judgement
from reasonrl.preference.evaluation.perturbations import PerturbationReport
from reasonrl.preference.evaluation.rewardbench import RewardBenchReport
from reasonrl.system.printable import visible

Line: TypeAlias = tuple[str, str, str]
"""Name, value and interval or note."""

FILE_WIDTH: Final = 140
"""Columns where the table is not printed on a terminal."""
MAX_TAGS: Final = 30
"""Tags in the table; the report has all."""


def judgement_text(judgement: Judgement) -> str:
    """Return the table as it is printed: with bold type on a terminal that has it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=FILE_WIDTH)
    with console.capture() as captured:
        console.print(judgement_table(judgement))
    return "\n".join(line.rstrip() for line in captured.get().split("\n")).rstrip()


def judgement_table(judgement: Judgement) -> RenderableType:
    """Return what was judged, the figures, and the verdict."""
    parts: list[RenderableType] = [_facts(judgement), Text()]
    for title, lines in _sections(judgement).items():
        parts += [_table(title, lines), Text()]
    verdict = Text("verdict: ").append(judgement.verdict, style="bold")
    return Group(*parts, verdict)


def percent(value: float) -> str:
    """Return a share as text."""
    return f"{value * 100:.1f} %"


def interval(estimate: Estimate) -> str:
    """Return the bounds of a share as text."""
    return f"[{estimate.lower * 100:.1f}, {estimate.upper * 100:.1f}]"


def signed_points(difference: PairedDifference) -> str:
    """Return a difference of shares as text, in percentage points."""
    return f"{difference.difference * 100:+z.1f}"


def signed_interval(difference: PairedDifference) -> str:
    """Return its bounds as text, with the p-value."""
    p_value = "p < .001" if difference.p_value < 0.001 else f"p = {difference.p_value:.3f}"
    return f"[{difference.lower * 100:+z.1f}, {difference.upper * 100:+z.1f}] {p_value}"


def _facts(judgement: Judgement) -> Table:
    model, data = judgement.model, judgement.data
    heads = f", {model.num_heads} heads ({model.aggregate})" if model.aggregate else ""
    facts = {
        "model": f"{model.name} ({model.kind} on {model.base_model}{heads}, template {model.template})",
        "pairs": f"{data.source} ({data.form}): {data.num_pairs:,} pairs of {data.num_prompts:,} prompts",
        "left out": ", ".join(_left_out(judgement)) or "nothing",
        "trained on": data.trained.summary,
        "scored by": f"{model.device}, {model.dtype}",
    }
    table = Table.grid(padding=(0, 2))
    for name, fact in [*facts.items(), *(("assumed", one) for one in model.assumptions)]:
        table.add_row(name, Text(visible(fact)))
    return table


def _left_out(judgement: Judgement) -> Iterator[str]:
    data = judgement.data
    for count, what in (
        (data.too_long, "pairs with a text that is too long"),
        (data.equal_texts, "pairs of equal texts"),
    ):
        if count:
            yield f"{count:,} {what}"


def _sections(judgement: Judgement) -> dict[str, list[Line]]:
    """Return the parts of the table by title; what was not measured is left out."""
    sections = {
        "accuracy, 95 % over prompts": _accuracy(judgement),
        "by tag": list(_estimates(dict(list(judgement.accuracy.by_tag.items())[:MAX_TAGS]))),
        "by margin of the label": [
            (f"{one.lowest:g} to {one.highest:g}", percent(one.accuracy.value), interval(one.accuracy))
            for one in judgement.accuracy.by_margin
        ],
        "single completions, sigmoid(score) as the probability of a right one": _outcome(judgement),
        "heads": _heads(judgement),
        "scores and calibration": _scores(judgement),
        "changes that make nothing better: share that scores higher": [
            (one.name, percent(one.higher.value), _perturbed(one)) for one in judgement.perturbations
        ],
    }
    if judgement.rewardbench is not None:
        sections[f"RewardBench{' 2' if judgement.rewardbench.version == 2 else ''}"] = _rewardbench(
            judgement.rewardbench
        )
    if judgement.best_of_n is not None:
        sections[f"best of n by {visible(judgement.best_of_n.metric)}"] = _best_of_n(judgement.best_of_n)
    return {title: lines for title, lines in sections.items() if lines}


def _perturbed(report: PerturbationReport) -> str:
    left_out = f", {report.left_out} left out" if report.left_out else ""
    return f"{interval(report.higher)}  mean change {report.mean_change:+z.2f} std{left_out}"


def _accuracy(judgement: Judgement) -> list[Line]:
    length, accuracy = judgement.length, judgement.accuracy.accuracy
    rule = f"chosen on {'the training pairs' if length.rule_from == 'training' else 'other prompts'}"
    rule = f"'the {length.rule}', {rule}, is worse" if length.is_coin else rule
    sides = {"where the chosen is longer": length.chosen_longer, "where the rejected is longer": length.rejected_longer}
    return [
        ("the model", percent(accuracy.value), interval(accuracy)),
        _baseline(f"length only: {'a coin' if length.is_coin else f'the {length.rule}'}", length.baseline, rule),
        _compared(length.difference),
        _baseline("length only: a regression", length.logistic, "fitted on other prompts"),
        _compared(length.logistic_difference),
        *_estimates({name: one for name, one in sides.items() if one is not None}),
        ("ties", percent(judgement.accuracy.ties), ""),
    ]


def _baseline(name: str, estimate: Estimate, note: str) -> Line:
    return name, percent(estimate.value), f"{interval(estimate)} {note}"


def _compared(difference: PairedDifference) -> Line:
    return "  the model less that", signed_points(difference), signed_interval(difference)


def _estimates(estimates: Mapping[str, Estimate]) -> Iterator[Line]:
    for name, one in estimates.items():
        yield visible(name), percent(one.value), f"{interval(one)}  {one.num_problems:,} prompts"


def _outcome(judgement: Judgement) -> list[Line]:
    outcome = judgement.outcome
    if outcome is None:
        return []
    return [
        ("accuracy", percent(outcome.accuracy.value), f"{interval(outcome.accuracy)}"),
        ("the more frequent label", percent(outcome.majority), f"of {outcome.num_completions:,} completions"),
        ("calibration error (ECE)", f"{outcome.calibration.ece:.3f}", ""),
        ("Brier score", f"{outcome.calibration.brier:.3f}", ""),
        ("log loss", f"{outcome.calibration.nll:.3f}", ""),
    ]


def _heads(judgement: Judgement) -> list[Line]:
    heads = judgement.heads
    if heads is None:
        return []
    accuracies = {f"head {number}": one for number, one in enumerate(heads.accuracy)}
    where = {"where all agree": heads.accuracy_unanimous, "where they do not": heads.accuracy_divided}
    return [
        *_estimates(accuracies),
        ("two heads agree", percent(heads.agreement), ""),
        ("all heads agree", percent(heads.unanimous), ""),
        *_estimates({name: one for name, one in where.items() if one is not None}),
    ]


def _scores(judgement: Judgement) -> list[Line]:
    calibration, position = judgement.calibration, judgement.position
    quantiles = judgement.accuracy.quantiles
    rho = judgement.length.spearman
    raw, scaled, temperature = calibration.raw, calibration.scaled, calibration.temperature
    return [
        ("difference: 5, 50, 95 %", "  ".join(f"{quantiles[level]:.2f}" for level in ("0.05", "0.5", "0.95")), ""),
        ("rank correlation with length", "none" if rho is None else f"{rho:+z.2f}", ""),
        (
            "calibration error (ECE)",
            f"{raw.ece:.3f}",
            f"{scaled.ece:.3f} with the temperature",
        ),
        ("Brier score (coin: 0.25)", f"{raw.brier:.3f}", f"{scaled.brier:.3f}"),
        ("log loss (coin: 0.693)", f"{raw.nll:.3f}", f"{scaled.nll:.3f}"),
        ("temperature", "none" if temperature is None else f"{temperature:.3g}", ""),
        (
            f"{position.num_pairs} pairs in the other order",
            f"{position.num_changed} turned",
            f"largest change of a score {position.max_change:.1e}",
        ),
    ]


def _rewardbench(report: RewardBenchReport) -> list[Line]:
    overall = "not all there" if report.overall is None else percent(report.overall)
    sections = [(name, percent(value), "") for name, value in report.sections.items()]
    subsets = [
        (f"  {visible(name)}", percent(value), f"{report.num_rows[name]:,} rows" + _incomplete(report, name))
        for name, value in report.subsets.items()
    ]
    return [("overall", overall, ""), *sections, *subsets]


def _incomplete(report: RewardBenchReport, name: str) -> str:
    return ", fewer than the benchmark has" if name in report.incomplete else ""


def _best_of_n(report: BestOfNReport) -> list[Line]:
    points = [
        (
            f"n = {point.n}",
            f"{point.picked.value:.3f}",
            f"[{point.picked.lower:.3f}, {point.picked.upper:.3f}]  best possible {point.best.value:.3f}",
        )
        for point in report.curve
    ]
    ordered = [] if report.accuracy is None else list(_estimates({"pairs of samples in order": report.accuracy}))
    beyond, trained = report.out_of_range, report.num_trained
    return [
        *points,
        *ordered,
        *([] if beyond is None else [("above the range of training", percent(beyond), "")]),
        ("samples left out", f"{report.left_out:,}", f"of {report.num_samples + report.left_out:,}"),
        *([("problems trained on", f"{trained:,}", f"of {report.num_problems:,}")] if trained else []),
    ]


def _table(title: str, lines: list[Line]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    for justify in ("left", "right", "left"):
        table.add_column(justify=justify)
    for line in lines:
        table.add_row(*map(Text, line))
    return table
