"""What the list of runs and the page of one run show."""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, Final, TypeAlias

from reasonrl.config.runfile import dump_run
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ReasonRLError
from reasonrl.run.history import HeldoutResult, History, Series
from reasonrl.run.report.charts import chart_values, further_charts, main_charts, marks
from reasonrl.run.report.thin import kept, rounded
from reasonrl.run.status import RunStatus, headline
from reasonrl.view.runs import RunFolder, version_of

SPARK_POINTS: Final = 60
"""Most values of a sparkline."""

SPARKS: Final = ("reward/mean", "rm/accuracy", "rm/loss", "sft/loss", "dpo/accuracy", "dpo/loss", "kto/loss")
"""Metrics for the sparkline of a run, the first that it has."""

SILENT_S: Final = 30.0
"""After so long a run is looked at again that writes nothing although it runs: it may have been killed."""

Json: TypeAlias = dict[str, Any]
"""Any: JSON values."""


class Overviews:
    """What is shown of runs, computed again only where their directories have changed.

    Args:
        folder: the runs.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._lock = Lock()
        self._kept: dict[tuple[str, str], tuple[str, float, Json]] = {}

    def runs(self) -> list[Json]:
        """Return one entry for each run, the latest first; one that cannot be read says why."""
        entries = [self._entry(name, path) for name, path in self._folder.paths().items()]
        return sorted(entries, key=lambda entry: str(entry.get("created", "")), reverse=True)

    def run(self, name: str) -> Json:
        """Return the page of a run.

        Raises:
            NotFoundError: there is no such run.
            ReasonRLError: it cannot be read.
        """
        return self._current("run", name, self._folder.path(name), run_values)

    def _entry(self, name: str, path: Path) -> Json:
        try:
            return self._current("entry", name, path, entry_values)
        except ReasonRLError as error:
            return {"id": name, "name": name, "status": "unreadable", "error": str(error)}

    def _current(self, what: str, name: str, path: Path, make: Callable[[History], Json]) -> Json:
        version = version_of(path)
        with self._lock:
            known = self._kept.get((what, name))
        if known and known[0] == version and (known[2]["status"] != "running" or monotonic() < known[1] + SILENT_S):
            return known[2]
        values = {"id": name, **make(self._folder.open(name))}
        values["version"] = f"{version}-{values['status']}"
        with self._lock:
            self._kept[what, name] = version, monotonic(), values
        return values


def entry_values(run: History) -> Json:
    """Return what the list says of a run."""
    manifest, config, status = run.manifest, run.config, RunStatus.of(run)
    spark = next((name for name in SPARKS if name in run.metrics), None)
    return {
        "name": run.name,
        "kind": manifest.kind,
        "status": status.status,
        "cause": status.cause,
        "created": manifest.created,
        "device": manifest.device,
        "control": manifest.control,
        "model": config.model.name,
        "task": _task(run),
        "steps_done": status.step,
        "num_steps": status.num_steps,
        "seconds_left": status.seconds_left,
        "headline": _headline(run),
        "spark": None if spark is None else {"metric": spark, "values": _thin(run.metrics[spark])},
        "alarms": sum(status.alarms.values()),
    }


def run_values(run: History) -> Json:
    """Return everything on the page of a run."""
    histories, names = [run], [run.name]
    return {
        **entry_values(run),
        "path": str(run.path),
        "description": run.config.description,
        "attempts": run.manifest.attempts,
        "rollbacks": run.manifest.rollbacks,
        "began_with": run.manifest.began_with,
        "environment": run.manifest.environment,
        "argv": list(run.manifest.argv),
        "settings": dump_run(run.config),
        "charts": [chart_values(chart) for chart in main_charts(histories, names)],
        "further": [chart_values(chart) for chart in further_charts(histories, names)],
        "marks": [{"run": one.run, "step": one.step, "kind": one.kind, "text": one.text} for one in marks(run, 0)],
        "events": [
            {"step": one.step, "kind": one.kind, "message": one.message, "wall": one.wall}
            for one in reversed(run.happenings)
        ],
        "checkpoints": sorted(run.checkpoints),
        "evaluations": [_evaluation(result) for result in run.evaluations],
        "rollout_steps": len(run.rollout_steps),
        "has_report": (run.path / "report.html").is_file(),
    }


def _task(run: History) -> str:
    if not isinstance(run.config, RunConfig):
        return run.directory.kind.name.replace("_", " ")
    return ", ".join(task.label for task in run.config.tasks)


def _thin(series: Series) -> list[float]:
    return [rounded(series.values[place]) for place in kept(series.values, SPARK_POINTS)]


def _headline(run: History) -> Json | None:
    """Return the first held-out figure: before training, and now with its interval."""
    if run.evaluations:
        suite = run.evaluations[0].suite
        of_suite = [result for result in run.evaluations if result.suite == suite]
        first, last = _evaluation(of_suite[0]), _evaluation(of_suite[-1])
        before = first["value"] if len(of_suite) > 1 else None
        return {"name": f"{suite} {last['label']}", "before": before, **_figure(last)}
    if (found := headline(run)) is None:
        return None
    return {"name": f"held-out {found.name}", "before": found.base, "value": found.now, "step": found.step}


def _figure(evaluation: Mapping[str, Any]) -> Json:
    return {name: evaluation[name] for name in ("value", "low", "high", "step")}


def _evaluation(result: HeldoutResult) -> Json:
    """Return the suite's own figure, and what else its table shows."""
    figure = result.summary["metrics"][0]
    return {
        "step": result.step,
        "suite": result.suite,
        "label": figure["label"],
        "value": figure["value"],
        "low": figure["ci"]["lower"],
        "high": figure["ci"]["upper"],
        "num_problems": figure["n"],
        "role": result.summary["suite"]["role"],
        "rates": dict(result.summary.get("rates", {})),
        "mean_tokens": result.summary.get("mean_tokens"),
    }
