"""A run as a notebook looks at it, while it trains or afterwards."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from reasonrl.api.evaluation import Evaluation
from reasonrl.api.html import Html, curves_html, list_html, paragraph, table_html
from reasonrl.api.table import Table
from reasonrl.config.kinds import AnyConfig
from reasonrl.errors import DataError, and_known
from reasonrl.run.files.manifest import Manifest
from reasonrl.run.files.manifest import Status as RunStatus
from reasonrl.run.files.rollouts import RolloutRecord
from reasonrl.run.history import Happening, History

if TYPE_CHECKING:
    from reasonrl.api.comparison import Comparison, Results

SHOWN: Final = ("reward/mean", "heldout/*", "completion/length_mean", "policy/entropy", "rm/loss", "rm/accuracy")
"""Curves of a run that is shown as a whole, those of them that it has."""
MAX_SHOWN: Final = 6
"""Most of them."""


class Run:
    """A run directory at one moment: what was read is kept, and :meth:`reload` looks again.

    Args:
        history: the run directory.
    """

    def __init__(self, history: History) -> None:
        self._history = history

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._history.path

    @property
    def name(self) -> str:
        """The run's name."""
        return self._history.name

    @property
    def status(self) -> RunStatus:
        """``running``, ``interrupted``, ``failed`` or ``finished``."""
        return self.manifest.status

    @property
    def steps(self) -> int:
        """The last step with metrics."""
        return self._history.steps_done

    @property
    def config(self) -> AnyConfig:
        """All settings, defaults filled in."""
        return self._history.config

    @property
    def manifest(self) -> Manifest:
        """Identity, origin and state of the run."""
        return self._history.manifest

    @property
    def checkpoints(self) -> Mapping[int, Path]:
        """Checkpoints on disk by step; each is a folder that transformers loads."""
        return self._history.checkpoints

    @property
    def events(self) -> Sequence[Happening]:
        """What a person should know of the run, alarms among it, in order."""
        return self._history.happenings

    @property
    def alarms(self) -> Sequence[Happening]:
        """The alarms among the events."""
        return self._history.alarms

    @cached_property
    def evaluations(self) -> Sequence[Evaluation]:
        """What was measured held out, by step, then by suite."""
        return tuple(Evaluation(result.folder) for result in self._history.evaluations)

    def reload(self) -> "Run":
        """Return the run as it is now; a run that trains goes on meanwhile."""
        return load_run(self.path)

    def at(self, step: int) -> str:
        """Name the checkpoint of a step, for :func:`reasonrl.evaluate`, or its evaluations, for ``compare``."""
        return f"{self.path}@{step}"

    def metrics(self, *names: str) -> Table:
        """Return one row for each step, with the metrics that were measured at it.

        Args:
            names: which metrics; ``*`` stands for anything, as in ``heldout/*``. All if not given.

        Raises:
            DataError: the run has no such metric.
        """
        chosen = {name: self._history.metrics[name] for name in self._chosen(names)}
        rows: dict[int, dict[str, Any]] = {}
        for name, series in chosen.items():
            for step, value in zip(series.steps, series.values, strict=True):
                rows.setdefault(step, {"step": step})[name] = value
        return Table([rows[step] for step in sorted(rows)], key="step")

    def curves(self, *names: str) -> Html:
        """Return a small picture of each metric over the steps, for a notebook; arguments are those of `metrics`."""
        chosen = {name: self._history.metrics[name] for name in self._chosen(names or self._usual())}
        return Html(
            curves_html({name: (series.steps, series.values) for name, series in chosen.items()}),
            str(self.metrics(*chosen)),
        )

    def rollouts(self, *steps: int) -> Table:
        """Return completions of some steps, of all if none is given: one row each, with scores and reasons.

        The scores stand under ``reward/NAME``, what the reward said about them under ``why/NAME``.

        Raises:
            RunError: no completions of a step were written.
        """
        return Table([_rollout(record) for record in self._history.rollouts(*steps)])

    def records(self, *steps: int) -> Iterator[RolloutRecord]:
        """Yield the completions as the run wrote them, one at a time; arguments and errors are those of `rollouts`."""
        return self._history.rollouts(*steps)

    def compare(self, *others: "Results") -> "Comparison":
        """Compare other results with this run's latest ones; without any, its last evaluation with its first."""
        from reasonrl.api.comparison import compare

        return compare(self, *others)

    def report(self, out: str | PathLike[str] | None = None, *, beside: "Sequence[Run]" = ()) -> "Report":
        """Write the run's report, one HTML file, with other runs laid over it where they are given.

        Args:
            out: the file; ``report.html`` in the run directory if not given.
            beside: other runs.

        Raises:
            RunError: the file cannot be written, or a run directory is damaged.
        """
        from reasonrl.run.report.writer import FILE, write_report

        path = self.path / FILE if out is None else Path(out)
        write_report([self.path, *(run.path for run in beside)], path)
        return Report(path)

    def _chosen(self, names: Sequence[str]) -> list[str]:
        known = self._history.metrics
        for name in names:
            if not any(fnmatch(one, name) for one in known):
                raise DataError(f"{self.path}: has no metric {name!r}.{and_known(name, list(known))}")
        return list(dict.fromkeys(one for name in names or ("*",) for one in known if fnmatch(one, name)))

    def _usual(self) -> list[str]:
        found = [one for shown in SHOWN for one in self._history.metrics if fnmatch(one, shown)]
        return [one for one in found if one.count("/") == 1][:MAX_SHOWN]

    def __repr__(self) -> str:
        """Return name, place and state in a line."""
        return f"<Run {self.name} at {self.path}: {self.status}, step {self.steps}>"

    def _repr_html_(self) -> str:
        """Return state, held-out figures, curves and alarms."""
        shown = self._usual()
        return "".join(
            [
                paragraph(f"{self.status}, step {self.steps}, {self.path}", strong=self.name),
                table_html(["suite", "step", "figure", "value [interval]"], self._ends()) if self.evaluations else "",
                self.curves(*shown).html if shown else "",
                list_html(f"step {alarm.step}: {alarm.message}" for alarm in self.alarms),
            ]
        )

    def _ends(self) -> list[list[str]]:
        """Return the first and the last evaluation of each suite as cells."""
        rows = []
        for suite in dict.fromkeys(one.suite for one in self.evaluations):
            of_suite = [one for one in self.evaluations if one.suite == suite]
            for one in dict.fromkeys((of_suite[0], of_suite[-1])):
                rows.append([suite, str(one.step), one.figure.name, str(one.figure)])
        return rows


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A report on disk, which a notebook shows in a frame."""

    path: Path

    def __repr__(self) -> str:
        """Return its place."""
        return str(self.path)

    def _repr_html_(self) -> str:
        """Return a frame with it, and a link."""
        place = quote(os.path.relpath(self.path))
        frame = f'<iframe src="{place}" title="report" width="100%" height="800" sandbox="allow-scripts"></iframe>'
        return f'<p><a href="{place}" target="_blank">{escape(str(self.path))}</a></p>{frame}'


def _rollout(record: RolloutRecord) -> dict[str, Any]:
    """Return the fields that people look at. Any: numbers and text."""
    return {
        "step": record.step,
        "group": record.group_index,
        "sample": record.sample_index,
        "problem": record.group_id,
        "task": record.task,
        "prompt": record.prompt,
        "completion": record.completion,
        "answer": record.answer,
        "reward": record.reward,
        "advantage": record.advantage,
        "outcome": record.outcome,
        **{f"reward/{name}": score.value for name, score in record.rewards.items()},
        **{f"why/{name}": score.why for name, score in record.rewards.items()},
        "tokens": record.completion_tokens,
        "finish_reason": record.finish_reason,
        "unused": record.unused,
    }


def load_run(path: str | PathLike[str]) -> Run:
    """Look at a run directory; the run may be training meanwhile, and nothing is written.

    Raises:
        RunError: it is not a run directory; the message names the missing part and the nearest run.
    """
    return Run(History.open(Path(path)))
