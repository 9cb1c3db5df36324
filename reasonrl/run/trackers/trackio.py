"""trackio: a local dashboard, or one in a Space of the hub."""

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

from reasonrl.errors import RunError
from reasonrl.plugins.types import TrackedRow, TrackedRun
from reasonrl.system.extras import needs_extra

MESSAGES: Final = ("prompt", "completion")
"""Columns of a rollout that a trace shows as a conversation; the others stand beside it."""


def trackio(
    run: TrackedRun,
    *,
    project: str = "reasonrl",
    folder: str | None = None,
    group: str | None = None,
    space_id: str | None = None,
    server_url: str | None = None,
) -> "Trackio":
    """Log to trackio; rollouts are traces, and a table.

    Args:
        run: what is tracked.
        project: trackio's project.
        folder: where its data are; null is ``TRACKIO_DIR``, or the cache of huggingface_hub.
        group: trackio's group of runs.
        space_id: a Space of the hub to log to.
        server_url: a trackio server to log to.
    """
    if folder is not None:
        os.environ["TRACKIO_DIR"] = folder  # read when it is imported
    remote = {name: value for name, value in (("space_id", space_id), ("server_url", server_url)) if value}
    return Trackio(run, project, group, remote)


class Trackio:
    """A run of trackio's, found again by its name, which holds our run's id.

    Args:
        run: what is tracked.
        project: trackio's project.
        group: trackio's group of runs.
        remote: where it logs to, if not to this machine.
    """

    def __init__(self, run: TrackedRun, project: str, group: str | None, remote: Mapping[str, str]) -> None:
        with needs_extra("trackio", "run.trackers: trackio"):
            import trackio
        self._trackio = trackio
        self._complaints: list[str] = []
        warnings.simplefilter("always")
        warnings.showwarning = self._note
        number = run.facts["run_id"][:6]
        self._run = trackio.init(
            project=project,
            name=f"{run.name}-{number}",
            group=group,
            config={"settings": dict(run.config), "facts": dict(run.facts)},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
            **remote,
        )
        self._refuse_complaints()
        self.where = next(iter(remote.values()), f"trackio show --project {project}")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log numbers."""
        self._run.log(dict(metrics), step=step)
        self._refuse_complaints()

    def table(self, step: int, rows: Sequence[TrackedRow]) -> None:
        """Log rollouts as traces, which show conversations, and as a table, which can be sorted."""
        traces = [self._trace(row) for row in rows]
        self._run.log({"rollouts": traces, "completions": self._trackio.Table(data=[dict(row) for row in rows])}, step)
        self._refuse_complaints()

    def _trace(self, row: TrackedRow) -> Any:
        """Make a conversation of a rollout. Any: trackio's class."""
        roles = zip(("user", "assistant"), MESSAGES, strict=True)
        messages = [{"role": role, "content": row[column]} for role, column in roles]
        return self._trackio.Trace(messages, {name: value for name, value in row.items() if name not in MESSAGES})

    def alarm(self, step: int, kind: str, message: str) -> None:
        """Raise an alert."""
        self._run.alert(kind, message, self._trackio.AlertLevel.WARN, step)
        self._refuse_complaints()

    def close(self, status: str, cause: str | None) -> None:
        """Say how the run ended, and have everything on disk."""
        if status != "finished":
            self._run.alert(f"run {status}", cause or "", self._trackio.AlertLevel.INFO)
        self._run.finish()
        self._refuse_complaints()

    def _note(self, message: Warning | str, *_about: object, **_further: object) -> None:
        """Keep what trackio warns of: it raises nothing when it loses data."""
        if "trackio" in str(message).lower() or "flush" in str(message):
            self._complaints.append(str(message))

    def _refuse_complaints(self) -> None:
        """Raise what trackio has warned of since the last call.

        Raises:
            RunError: it has lost something.
        """
        if self._complaints:
            raise RunError(self._complaints[0])
