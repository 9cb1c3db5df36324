"""SwanLab: on this machine unless the user is logged in."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from reasonrl.plugins.types import TrackedRow, TrackedRun
from reasonrl.system.extras import needs_extra

STATES: Final[Mapping[str, str]] = {"finished": "success", "rolled_back": "success", "interrupted": "aborted"}
"""SwanLab's words for how a run ended; any other status is a crash."""


def swanlab(
    run: TrackedRun,
    *,
    project: str = "reasonrl",
    workspace: str | None = None,
    mode: Literal["online", "local", "offline", "disabled"] | None = None,
    folder: str | None = None,
) -> "SwanLab":
    """Log to SwanLab; rollouts and alarms are texts. It never asks for an account.

    Args:
        run: what is tracked.
        project: SwanLab's project.
        workspace: a user or organization; null is SwanLab's own choice.
        mode: null is ``SWANLAB_MODE``; without that ``online`` for who is logged in, else ``offline``.
        folder: where its files are; null is ``swanlog`` in the run directory.
    """
    chosen = mode or os.environ.get("SWANLAB_MODE") or ("online" if _is_logged_in() else "offline")
    return SwanLab(run, project, workspace, chosen, Path(folder) if folder else run.path / "swanlog")


class SwanLab:
    """A run of SwanLab's with our run's id.

    Args:
        run: what is tracked.
        project: SwanLab's project.
        workspace: whose it is.
        mode: of SwanLab.
        folder: where its files are.
    """

    def __init__(self, run: TrackedRun, project: str, workspace: str | None, mode: str, folder: Path) -> None:
        with needs_extra("swanlab", "run.trackers: swanlab"):
            import swanlab
        self._swanlab = swanlab
        folder.mkdir(parents=True, exist_ok=True)
        self._run = swanlab.init(
            project=project,
            workspace=workspace,
            name=run.name,
            id=run.id.replace("-", ""),
            resume="allow",
            mode=mode,
            log_dir=str(folder),
            config={**run.config, "facts": dict(run.facts)},
        )
        self.where = f"swanlab sync {folder}/*" if mode == "offline" else f"project {project} of SwanLab"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log numbers."""
        self._swanlab.log(dict(metrics), step=step)

    def table(self, step: int, rows: Sequence[TrackedRow]) -> None:
        """Log rollouts as texts: SwanLab has no tables."""
        self._swanlab.log({"completions": [self._swanlab.Text(_text(row)) for row in rows]}, step=step)

    def alarm(self, step: int, kind: str, message: str) -> None:
        """Log the alarm as text."""
        self._swanlab.log({f"alarms/{kind}": self._swanlab.Text(message)}, step=step)

    def close(self, status: str, cause: str | None) -> None:
        """Say how the run ended, and write everything."""
        self._run.finish(STATES.get(status, "crashed"), cause)


def _text(row: TrackedRow) -> str:
    return "\n".join(f"{column}: {value}" for column, value in row.items())


def _is_logged_in() -> bool:
    """Say whether SwanLab finds a key without asking: in the environment, or where ``swanlab login`` has put it."""
    folder = Path(os.environ.get("SWANLAB_ROOT") or os.environ.get("SWANLAB_SAVE_DIR") or Path.home() / ".swanlab")
    return bool(os.environ.get("SWANLAB_API_KEY")) or (folder / ".netrc").is_file()
