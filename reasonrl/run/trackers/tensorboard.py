"""TensorBoard: event files in the run directory."""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import time
from typing import Any

from reasonrl.plugins.types import TrackedRow, TrackedRun
from reasonrl.system.extras import needs_extra


def tensorboard(run: TrackedRun, *, folder: str | None = None) -> "TensorBoard":
    """Write event files for TensorBoard: scalars, alarms and settings as text; it has no tables.

    Args:
        run: what is tracked.
        folder: where the files of all runs go, each run in a folder of its name; null is ``tensorboard`` in the run
            directory.
    """
    place = run.path / "tensorboard" if folder is None else Path(folder) / run.name
    return TensorBoard(run, place if folder is not None or "-rollback-" not in run.id else place / run.name)


class TensorBoard:
    """An open event file.

    Args:
        run: what is tracked.
        folder: where it stands.
    """

    def __init__(self, run: TrackedRun, folder: Path) -> None:
        with needs_extra("tensorboard", "run.trackers: tensorboard"):
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.plugins.text.metadata import create_summary_metadata
            from tensorboard.summary.writer.record_writer import RecordWriter
            from tensorboard.util.tensor_util import make_tensor_proto
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._tensor, self._text_metadata = make_tensor_proto, create_summary_metadata
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time():017.6f}.{socket.gethostname()}.{os.getpid()}"
        # Not TensorBoard's own writer of event files, whose thread ends without a word where the disk is full.
        self._records = RecordWriter((folder / name).open("wb"))
        self._add(self._event(wall_time=time(), file_version="brain.Event:2"))
        self.where = f"tensorboard --logdir {folder}"
        self._write_text(0, "run/settings", f"```json\n{json.dumps(run.config, indent=2)}\n```")
        self._write_text(0, "run/facts", "\n".join(f"- {name}: {fact}" for name, fact in run.facts.items()))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write scalars."""
        self._write(step, [self._summary.Value(tag=name, simple_value=value) for name, value in metrics.items()])

    def table(self, step: int, rows: Sequence[TrackedRow]) -> None:
        """Pass over them: TensorBoard has no tables."""

    def alarm(self, step: int, kind: str, message: str) -> None:
        """Write the alarm as text."""
        self._write_text(step, f"alarms/{kind}", message)

    def close(self, status: str, cause: str | None) -> None:
        """Write how the run ended."""
        self._write_text(0, "run/status", f"{status}: {cause}" if cause else status)
        self._records.close()

    def _write_text(self, step: int, tag: str, text: str) -> None:
        metadata = self._text_metadata(display_name="", description="")
        tensor = self._tensor([text.encode()])
        self._write(step, [self._summary.Value(tag=tag, tensor=tensor, metadata=metadata)])

    def _write(self, step: int, values: list[Any]) -> None:
        """Add values of a step. Any: TensorBoard's messages are untyped."""
        self._add(self._event(wall_time=time(), step=step, summary=self._summary(value=values)))

    def _add(self, event: Any) -> None:
        """Add a record, and have it on disk. Any: as above."""
        self._records.write(event.SerializeToString())
        self._records.flush()
