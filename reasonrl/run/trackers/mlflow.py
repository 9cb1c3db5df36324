"""MLflow: a tracking server, a database, or a folder."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from reasonrl.plugins.types import TrackedRow, TrackedRun
from reasonrl.system.extras import needs_extra

RUN_ID: Final = "reasonrl.run_id"
"""The tag by which a run is found again."""
STATUSES: Final[Mapping[str, str]] = {"finished": "FINISHED", "failed": "FAILED"}
"""MLflow's words for how a run ended; any other status is KILLED."""
MAX_BATCH: Final = 100
"""Most parameters of one call."""
MAX_VALUE: Final = 6000
"""Longest value of a parameter."""


def mlflow(run: TrackedRun, *, project: str = "reasonrl", uri: str | None = None) -> "MLflow":
    """Log to MLflow; rollouts are artifacts in the format of its tables.

    Args:
        run: what is tracked.
        project: MLflow's experiment.
        uri: MLflow's tracking URI; null is ``MLFLOW_TRACKING_URI``, without that the database ``mlflow.db`` beside the
            run directory, or the folder ``mlruns`` there where all of MLflow is not installed.
    """
    return MLflow(run, project, uri or os.environ.get("MLFLOW_TRACKING_URI") or _beside(run.path))


def _beside(path: Path) -> str:
    if all(find_spec(package) is not None for package in ("sqlalchemy", "alembic")):
        return f"sqlite:///{path.parent / 'mlflow.db'}"
    return (path.parent / "mlruns").as_uri()


class MLflow:
    """A run of MLflow's, found again by a tag.

    Args:
        run: what is tracked.
        project: MLflow's experiment.
        uri: MLflow's tracking URI.
    """

    def __init__(self, run: TrackedRun, project: str, uri: str) -> None:
        self._is_folder = uri.startswith("file:") or not (":" in uri or uri == "databricks")
        if self._is_folder:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # which MLflow maintains and no longer extends
        with needs_extra("mlflow", "run.trackers: mlflow"):
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param
        self._metric, self._param = Metric, Param
        self._client = MlflowClient(tracking_uri=uri)
        self._id = self._open(run, self._experiment(project))
        self.where = f"mlflow ui --backend-store-uri {uri}" if not uri.startswith("http") else uri

    def _experiment(self, project: str) -> str:
        found = self._client.get_experiment_by_name(project)
        return str(found.experiment_id if found else self._client.create_experiment(project))

    def _open(self, run: TrackedRun, experiment: str) -> str:
        """Return the id of MLflow's run, which is made if need be."""
        earlier = self._client.search_runs([experiment], f"tags.`{RUN_ID}` = '{run.id}'", max_results=1)
        if earlier:
            found = str(earlier[0].info.run_id)
            self._client.update_run(found, status="RUNNING")
            return found
        made = self._client.create_run(experiment, run_name=run.name, tags={RUN_ID: run.id, **_tags(run.facts)})
        identity = str(made.info.run_id)
        self._client.log_dict(identity, dict(run.config), "settings.json")
        params = [self._param(_named(key), value[:MAX_VALUE]) for key, value in _flat(run.config, "")]
        for start in range(0, len(params), MAX_BATCH):
            self._client.log_batch(identity, params=params[start : start + MAX_BATCH])
        return identity

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log numbers; characters that MLflow has not in names become ``_``.

        In a folder, where a metric is a file, ``/`` becomes ``.``: ``heldout/a`` stands beside ``heldout/a/b``.
        """
        now = int(time.time() * 1000)
        self._client.log_batch(
            self._id, [self._metric(self._name(name), value, now, step) for name, value in metrics.items()]
        )

    def _name(self, name: str) -> str:
        return _named(name.replace("/", ".") if self._is_folder else name)

    def table(self, step: int, rows: Sequence[TrackedRow]) -> None:
        """Keep rollouts as an artifact in the format of MLflow's tables."""
        columns = list(rows[0])
        table = {"columns": columns, "data": [[row[column] for column in columns] for row in rows]}
        self._client.log_text(self._id, json.dumps(table), f"completions/step_{step:06d}.json")

    def alarm(self, step: int, kind: str, message: str) -> None:
        """Keep the alarm as a tag."""
        self._client.set_tag(self._id, _named(f"alarm.{kind}.step_{step:06d}"), message)

    def close(self, status: str, cause: str | None) -> None:
        """Say how the run ended."""
        self._client.set_tag(self._id, "status", f"{status}: {cause}" if cause else status)
        self._client.set_terminated(self._id, STATUSES.get(status, "KILLED"))


def _named(name: str) -> str:
    """Return a name as MLflow takes it."""
    return re.sub(r"[^\w\-. /]", "_", name)


def _tags(facts: Mapping[str, str]) -> dict[str, str]:
    return {_named(f"reasonrl.{name}"): fact for name, fact in facts.items() if name != "run_id"}


def _flat(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the leaves of the settings with their dotted keys. Any: JSON values."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value if isinstance(value, str) else json.dumps(value)
