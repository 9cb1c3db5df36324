"""Weights & Biases: on this machine unless the user is logged in."""

import netrc
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from reasonrl.plugins.types import TrackedRow, TrackedRun
from reasonrl.system.extras import needs_extra

EXIT_CODES: Final[Mapping[str, int]] = {"finished": 0, "rolled_back": 0, "interrupted": 130}
"""How wandb is told that a run ended; any other status is 1."""
MAX_TITLE: Final = 63
"""Longest title of an alert."""


def wandb(
    run: TrackedRun,
    *,
    project: str | None = None,
    entity: str | None = None,
    mode: Literal["online", "offline", "shared", "disabled"] | None = None,
    folder: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
) -> "Wandb":
    """Log to Weights & Biases; it is never asked for an account.

    Args:
        run: what is tracked.
        project: null is ``WANDB_PROJECT``, or ``reasonrl``.
        entity: a user or team; null is wandb's own choice.
        mode: null is ``WANDB_MODE``; without that ``online`` for who is logged in, else ``offline``.
        folder: where its files are; null is ``WANDB_DIR``, or the run directory.
        group: wandb's group of runs.
        tags: wandb's tags of the run.
    """
    chosen = mode or os.environ.get("WANDB_MODE") or ("online" if _is_logged_in() else "offline")
    where = folder or os.environ.get("WANDB_DIR") or str(run.path)
    named = project or os.environ.get("WANDB_PROJECT") or "reasonrl"
    return Wandb(run, chosen, where, {"project": named, "entity": entity, "group": group, "tags": list(tags) or None})


class Wandb:
    """A run of wandb's with our run's id.

    Args:
        run: what is tracked.
        mode: of wandb.
        folder: where its files are.
        named: what it is filed under. Any: as wandb takes it.
    """

    def __init__(self, run: TrackedRun, mode: str, folder: str, named: Mapping[str, Any]) -> None:
        with needs_extra("wandb", "run.trackers: wandb"):
            import wandb
        self._wandb = wandb
        chosen: dict[str, Any] = {
            "id": run.id,
            "name": run.name,
            "dir": folder,
            "mode": mode,
            "resume": "allow" if mode == "online" else None,
            "config": {**run.config, "facts": dict(run.facts)},
            "settings": wandb.Settings(console="off", disable_code=True),
            **named,
        }
        self._run = wandb.init(**chosen)
        self.where = self._run.url or f"wandb sync {Path(self._run.dir).parent}"

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log numbers; wandb joins what belongs to one step."""
        self._run.log(dict(metrics), step=step)

    def table(self, step: int, rows: Sequence[TrackedRow]) -> None:
        """Log rollouts as a table."""
        columns = list(rows[0])
        table = self._wandb.Table(columns=columns, data=[[row[column] for column in columns] for row in rows])
        self._run.log({"completions": table}, step=step)

    def alarm(self, step: int, kind: str, message: str) -> None:
        """Raise an alert."""
        self._run.alert(f"{kind} after step {step}"[:MAX_TITLE], message, level="WARN")

    def close(self, status: str, cause: str | None) -> None:
        """Say how the run ended, and write everything."""
        self._run.summary["status"] = status
        if cause is not None:
            self._run.summary["cause"] = cause
        self._run.finish(exit_code=EXIT_CODES.get(status, 1))


def _is_logged_in() -> bool:
    """Say whether wandb finds an account without asking: in the environment, or where ``wandb login`` has put it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    with suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    return False
