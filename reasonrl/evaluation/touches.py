"""How often test suites were looked at: each look is a chance to choose by what should only be reported."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from reasonrl.plugins.types import Suite
from reasonrl.system import jsonl
from reasonrl.system.disk import disk_errors

TOUCHES: Final = "test_touches.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """One measurement of a test suite."""

    time: str
    """When it began, in UTC (ISO 8601)."""
    suite: str
    version: int
    model: str
    step: int | None
    """Training step of the checkpoint; None for a model that is none."""
    final: bool
    """Whether it was measured for the record (``--final``)."""
    limit: int | None = None
    """Problems that were measured, where those were not all."""


def record_touch(
    folder: Path, suite: Suite, *, model: str, step: int | None, final: bool, limit: int | None = None
) -> int | None:
    """Note that a test suite is measured, when that begins: a figure is seen from the first completions on.

    Args:
        folder: the run directory for a run's model, else the folder of the model's results.
        suite: a suite that may choose checkpoints is not noted.
        model: as the user names it.
        step: training step of the model.
        final: whether it is measured for the record.
        limit: problems that are measured, where those are not all.

    Returns:
        How often the suite was measured there, this time included; None for a suite that may choose checkpoints.

    Raises:
        RunError: the note cannot be written, or a line of it is damaged.
    """
    if suite.role != "test":
        return None
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    touch = Touch(time=now, suite=suite.name, version=suite.version, model=model, step=step, final=final, limit=limit)
    with disk_errors(folder / TOUCHES, "then measure the model again."):
        folder.mkdir(parents=True, exist_ok=True)
        jsonl.append(folder / TOUCHES, asdict(touch))
    return count_touches(folder, suite.name)


def count_touches(folder: Path, suite: str) -> int:
    """Return how often a test suite was measured.

    Raises:
        RunError: a line is damaged.
    """
    return sum(record.get("suite") == suite for record in jsonl.read(folder / TOUCHES))
