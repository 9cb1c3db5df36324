"""A model measured on a held-out suite: the figure with its interval, and the completions behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from reasonrl.api.html import list_html, paragraph, table_html
from reasonrl.api.table import Table
from reasonrl.evaluation.files import SAMPLES, model_name, read_measured, read_summary
from reasonrl.evaluation.report import render_result
from reasonrl.system import jsonl


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of an evaluation, a share between 0 and 1 unless the metric is another number."""

    name: str
    """What people call it: ``avg@8``."""
    value: float
    lower: float
    upper: float
    """The ends of the interval."""
    level: float
    """Share of repetitions in which such an interval holds the true mean."""
    standard_error: float
    num_problems: int

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end."""
        return self.lower, self.upper

    def __str__(self) -> str:
        """Return it in percent."""
        return f"{self.value:.1%} [{self.lower:.1%}, {self.upper:.1%}]"


class Evaluation:
    """One suite's results, read from their folder.

    Args:
        folder: holds ``results.json`` and ``samples.jsonl``.

    Raises:
        DataError: it does not, or they are damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary: Mapping[str, Any] = read_summary(folder)
        """What ``results.json`` holds. Any: JSON."""

    @property
    def suite(self) -> str:
        """The suite's name."""
        return str(self.summary["suite"]["name"])

    @property
    def model(self) -> str:
        """What was measured: a model's name, or ``RUN@STEP``."""
        return model_name(self.summary["model"])

    @property
    def step(self) -> int | None:
        """The step of the run whose weights were measured; None for a model of no run."""
        step = self.summary["model"].get("step")
        return None if step is None else int(step)

    @cached_property
    def figures(self) -> Mapping[str, Figure]:
        """All figures by the name that files have for them: ``exact`` first, rates of what went wrong last."""
        return {metric["id"]: _figure(metric) for metric in self.summary["metrics"]}

    @property
    def figure(self) -> Figure:
        """The suite's own figure: the mean of its metric."""
        return next(iter(self.figures.values()))

    @property
    def value(self) -> float:
        """The value of the suite's own figure."""
        return self.figure.value

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the suite's own figure."""
        return self.figure.interval

    def samples(self) -> Table:
        """Return the completions with their measurements, one row each."""
        return Table(jsonl.read(self.folder / SAMPLES))

    def __str__(self) -> str:
        """Return all figures as text."""
        measured = read_measured(self.folder)
        return f"{render_result(measured.result, self.model)}\nResults: {self.folder}"

    def __repr__(self) -> str:
        """Return the figure in a line."""
        return f"<Evaluation of {self.model} on {self.suite}: {self.figure.name} {self.figure}>"

    def _repr_html_(self) -> str:
        """Return the figures as a table."""
        rows = [
            [one.name, str(one), f"{one.standard_error:.1%}", str(one.num_problems)] for one in self.figures.values()
        ]
        return "".join(
            [
                paragraph(f"{self.model} on {self.suite}", strong=f"{self.figure.name} {self.figure}"),
                table_html(["figure", "value [interval]", "standard error", "problems"], rows),
                list_html(self.summary.get("missing", ())),
            ]
        )


def _figure(metric: Mapping[str, Any]) -> Figure:
    """Read one entry of ``metrics``. Any: JSON values."""
    interval = metric["ci"]
    return Figure(
        name=metric["label"],
        value=metric["value"],
        lower=interval["lower"],
        upper=interval["upper"],
        level=interval["level"],
        standard_error=metric["se"],
        num_problems=metric["n"],
    )
