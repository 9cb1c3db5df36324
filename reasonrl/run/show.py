"""A run on one screen: headline, small plots, alarms, evaluations and checkpoints."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from reasonrl.run.history import Happening, HeldoutResult, History, Series
from reasonrl.run.metric_names import describe
from reasonrl.run.plots import plot
from reasonrl.run.status import RunStatus
from reasonrl.system.printable import visible
from reasonrl.system.table import aligned

SHOWN: Final = (
    *("reward/mean", "completion/length_mean", "policy/entropy", "policy/kl", "policy/grad_norm"),
    *("completion/truncated", "groups/useful", "rm/loss", "rm/accuracy"),
    *("sft/loss", "sft/token_accuracy", "dpo/loss", "dpo/accuracy", "dpo/margin", "kto/loss", "kto/margin"),
    "seconds/step",
)
"""Metrics that have a plot, after the held-out ones, where the run has them."""
MAX_HELDOUT: Final = 4
"""Most held-out metrics that have a plot."""
HEIGHT: Final = 5
"""Lines of a plot."""
MAX_ALARMS: Final = 10
"""Most alarms that are listed: the last ones."""
MIN_WIDTH: Final = 24
"""Least characters of a plot; two stand beside each other where there is room for twice that."""
GAP: Final = 4
"""Characters between two plots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What is shown of a run."""

    status: RunStatus
    began_with: str | None
    """The other run's checkpoint that it began with."""
    metrics: Mapping[str, Series]
    """Those that have a plot, in their order."""
    alarms: Sequence[Happening]
    evaluations: Sequence[HeldoutResult]
    """Of the last evaluation."""
    checkpoints: Sequence[int]

    @classmethod
    def of(cls, run: History) -> Self:
        """Read it.

        Raises:
            ReasonRLError: a file of the run is damaged.
        """
        heldout = [name for name in run.metrics if name.startswith("heldout/") and name.count("/") == 1]
        last = max((result.step for result in run.evaluations), default=None)
        return cls(
            status=RunStatus.of(run),
            began_with=run.manifest.began_with,
            metrics={name: run.metrics[name] for name in (*heldout[:MAX_HELDOUT], *SHOWN) if name in run.metrics},
            alarms=run.alarms,
            evaluations=[result for result in run.evaluations if result.step == last],
            checkpoints=sorted(run.checkpoints),
        )

    def record(self) -> dict[str, Any]:
        """Return it as JSON values. Any: JSON."""
        return {
            "run": self.status.record(),
            "began_with": self.began_with,
            "metrics": {name: {"steps": each.steps, "values": each.values} for name, each in self.metrics.items()},
            "alarms": [{"step": each.step, "message": each.message, "wall": each.wall} for each in self.alarms],
            "evaluations": [
                {"step": each.step, "suite": each.suite, "metrics": each.summary["metrics"]}
                for each in self.evaluations
            ],
            "checkpoints": list(self.checkpoints),
        }

    def text(self, width: int) -> str:
        """Return it as lines that fit a terminal of so many characters."""
        sections = [
            self._head(),
            *self._plots(width),
            "\n".join(self._evaluations()),
            "\n".join(self._alarms()),
            f"checkpoints: {', '.join(map(str, self.checkpoints)) or 'none'}",
        ]
        return "\n\n".join(filter(None, sections))

    def _head(self) -> str:
        name, *cells = filter(None, self.status.cells())
        began = [] if self.began_with is None else [f"began with {visible(self.began_with)}"]
        return f"{name} ({self.status.path})\n{'   '.join([*cells, *began])}"

    def _plots(self, width: int) -> Iterator[str]:
        """Yield blocks of plots, two beside each other where there is room."""
        both = (width - GAP) // 2
        num_columns = 2 if both >= MIN_WIDTH + 10 else 1
        blocks = [
            _block(name, series, both if num_columns == 2 else width)
            for name, series in self.metrics.items()
            if series.steps
        ]
        for start in range(0, len(blocks), num_columns):
            yield "\n".join(_beside(blocks[start : start + num_columns], both + GAP))

    def _evaluations(self) -> Iterator[str]:
        rows = [[result.suite, *map(_figure, result.summary["metrics"])] for result in self.evaluations]
        if rows:
            yield f"held out after step {self.evaluations[0].step}:"
            yield from (f"  {visible(line)}" for line in aligned(rows))

    def _alarms(self) -> Iterator[str]:
        if len(self.alarms) > MAX_ALARMS:
            yield f"{len(self.alarms)} alarms, the last {MAX_ALARMS}:"
        elif self.alarms:
            yield "alarms:"
        yield from (f"  step {alarm.step}: {visible(alarm.message)}" for alarm in self.alarms[-MAX_ALARMS:])


def _figure(metric: Mapping[str, Any]) -> str:
    """Return a figure of results.json with its interval. Any: JSON."""
    interval = metric.get("ci")
    between = f" [{interval['lower']:.1%}, {interval['upper']:.1%}]" if interval else ""
    return f"{metric['id']} {metric['value']:.1%}{between}"


def _block(name: str, series: Series, width: int) -> list[str]:
    """Return a plot under its name, its unit and its last value."""
    declared = describe(name)
    unit = f" ({declared.unit})" if declared else ""
    title = f"{visible(name)}{unit}: {series.values[-1]:.4g}"
    return [title[:width], *plot(series.steps, series.values, width=max(width - 10, MIN_WIDTH - 10), height=HEIGHT)]


def _beside(blocks: Sequence[Sequence[str]], width: int) -> list[str]:
    """Join blocks of equal height line by line."""
    return ["".join(line.ljust(width) for line in lines).rstrip() for lines in zip(*blocks, strict=True)]
