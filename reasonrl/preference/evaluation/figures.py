"""The pictures of a report, as SVG for a page. No text of the data stands in them."""

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from reasonrl.evaluation.estimates import Estimate
from reasonrl.evaluation.intervals import Values
from reasonrl.preference.evaluation.best_of_n import BestOfNReport
from reasonrl.preference.evaluation.calibration import Calibration, CalibrationReport
from reasonrl.preference.evaluation.judgement import Judgement
from reasonrl.preference.evaluation.scored import ScoredPair, accuracy_by_prompt, share
from reasonrl.system.extras import needs_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text: small, and in the page's font
    "svg.hashsalt": "reasonrl",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "text.parse_math": False,
}
"""Settings of matplotlib. Any: their types differ between its versions."""
GOOD, BAD, GRAY = "#1b6ca8", "#c8553d", "#8a8a8a"
SIZE: Final = re.compile(r' (?:width|height)="[^"]*"')
CSS_PIXELS: Final = 96
"""Of an inch."""
NUM_HISTOGRAM_BINS: Final = 40
NUM_LENGTH_BINS: Final = 8

Draw: TypeAlias = Callable[["Axes"], None]


def judgement_figures(judgement: Judgement, pairs: Sequence[ScoredPair]) -> dict[str, str]:
    """Return the pictures of a report by name: ``accuracy``, ``length``, ``scores``, ``differences``, ``reliability``
    and, where it was measured, ``best_of_n``."""
    curve = judgement.best_of_n
    figures = {
        "accuracy": _svg(lambda axes: _accuracies(axes, judgement), height=2.2, left=1.5),
        "length": _svg(lambda axes: _by_length(axes, pairs)),
        "scores": _svg(lambda axes: _scores(axes, pairs)),
        "differences": _svg(lambda axes: _differences(axes, pairs)),
        "reliability": _svg(lambda axes: _reliability(axes, judgement.calibration), width=4.2, height=3.6),
    }
    return figures if curve is None else {**figures, "best_of_n": _svg(lambda axes: _best_of_n(axes, curve))}


def _svg(draw: Draw, *, width: float = 6.4, height: float = 3.0, left: float = 0.7) -> str:
    """Draw a picture; sizes in inches, ``left`` the margin for names. Fixed margins, since to find them draws twice."""
    with needs_extra("plots", "the report of a reward model"):
        import matplotlib as mpl
        from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure, content = Figure(figsize=(width, height)), io.StringIO()
        figure.subplots_adjust(left=left / width, right=1 - 0.15 / width, bottom=0.55 / height, top=1 - 0.1 / height)
        draw(figure.subplots())
        figure.savefig(content, format="svg", metadata={"Date": None})
    # Without the XML prologue and with a largest size in place of a fixed one, it is an element of a page.
    head, _, rest = content.getvalue().partition("<svg")[2].partition(">")
    return f'<svg style="max-width: {width * CSS_PIXELS:.0f}px"{SIZE.sub("", head)}>{rest}'


def _accuracies(axes: "Axes", judgement: Judgement) -> None:
    length = judgement.length
    rows: list[tuple[str, Estimate, str]] = [
        ("regression on length", length.logistic, GRAY),
        ("prefer the shorter", length.shorter, GRAY),
        ("prefer the longer", length.longer, GRAY),
        ("the model", judgement.accuracy.accuracy, GOOD if length.beats_length_only else BAD),
    ]
    for place, (_, estimate, color) in enumerate(rows):
        axes.plot([estimate.lower, estimate.upper], [place, place], color=color, linewidth=2)
        axes.plot([estimate.value], [place], "o", color=color)
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, 1)
    axes.set_xlabel("accuracy with its 95 % interval; dotted: a coin")


def _by_length(axes: "Axes", pairs: Sequence[ScoredPair]) -> None:
    order = sorted(pairs, key=lambda pair: pair.length_difference)
    indices = np.array_split(np.arange(len(order)), min(NUM_LENGTH_BINS, len(order)))
    for part in indices:
        those = [order[index] for index in part]
        lengths = [pair.length_difference for pair in those]
        estimate = share(accuracy_by_prompt(those))
        middle = float(np.median(lengths))
        axes.plot([middle, middle], [estimate.lower, estimate.upper], color=GOOD, linewidth=1.5)
        axes.plot([middle], [estimate.value], "o", color=GOOD)
    axes.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_ylim(0, 1)
    axes.set_xlabel("characters that the chosen completion is longer by (left of 0: shorter)")
    axes.set_ylabel("accuracy")


def _scores(axes: "Axes", pairs: Sequence[ScoredPair]) -> None:
    chosen, rejected = [pair.chosen for pair in pairs], [pair.rejected for pair in pairs]
    edges = np.histogram_bin_edges([*chosen, *rejected], bins=NUM_HISTOGRAM_BINS)
    axes.hist(rejected, bins=list(edges), color=BAD, alpha=0.5, label="rejected")
    axes.hist(chosen, bins=list(edges), color=GOOD, alpha=0.5, label="chosen")
    axes.set_xlabel("score")
    axes.set_ylabel("completions")
    axes.legend(frameon=False)


def _differences(axes: "Axes", pairs: Sequence[ScoredPair]) -> None:
    differences = np.array([pair.difference for pair in pairs])
    step = (np.ptp(differences) or 1.0) / NUM_HISTOGRAM_BINS
    # 0 is an edge, so that no bar holds both kinds.
    first, last = np.floor(differences.min() / step), np.ceil(differences.max() / step)
    edges = list(np.arange(min(first, 0), max(last, 1) + 1) * step)
    axes.hist(differences[differences > 0], bins=edges, color=GOOD, label="right order")
    axes.hist(differences[differences <= 0], bins=edges, color=BAD, label="wrong order or a tie")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("score of chosen less score of rejected")
    axes.set_ylabel("pairs")
    axes.legend(frameon=False)


def _reliability(axes: "Axes", report: CalibrationReport) -> None:
    def line(calibration: Calibration, color: str, label: str) -> None:
        predicted: Values = np.array([one.predicted for one in calibration.bins])
        axes.plot(predicted, [one.observed for one in calibration.bins], "o-", color=color, label=label, markersize=4)

    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    line(report.raw, BAD, "scores as they are")
    line(report.scaled, GOOD, "divided by a temperature")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("how often it came true")
    axes.legend(frameon=False)


def _best_of_n(axes: "Axes", report: BestOfNReport) -> None:
    counts = [point.n for point in report.curve]
    for estimates, color, label in (
        ([point.best for point in report.curve], GRAY, "best possible"),
        ([point.picked for point in report.curve], GOOD, "picked by the model"),
    ):
        axes.plot(counts, [one.value for one in estimates], "o-", color=color, label=label, markersize=4)
        axes.fill_between(
            counts, [one.lower for one in estimates], [one.upper for one in estimates], color=color, alpha=0.15
        )
    axes.axhline(report.curve[0].picked.value, color="black", linewidth=0.8, linestyle=":", label="mean of the samples")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xlabel("n, samples to choose from")
    axes.set_ylabel("gold value")
    axes.legend(frameon=False)
