"""The observer that tells a run's trackers; whatever they do costs the run no step and no error."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from reasonrl.config.base import TrackerRef
from reasonrl.plugins.types import TrackedRun
from reasonrl.run.events import (
    AlarmRaised,
    Event,
    HeldoutMeasured,
    Message,
    MetricsMeasured,
    RunEnded,
    RunStarted,
    StepFinished,
    SuiteEvaluated,
)
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.history import NOT_METRICS
from reasonrl.run.metric_spellings import in_trackers
from reasonrl.run.trackers.messages import Alarm, Closing, Item, Metrics, Opening, Table
from reasonrl.run.trackers.process import TrackerProcess
from reasonrl.run.trackers.progress import Progress
from reasonrl.run.trackers.rows import table_rows
from reasonrl.types import StepRecord

FOLDER: Final = "trackers"
"""Folder of a run directory: what each tracker printed, and what it has."""
NAMED: Final = re.compile(r"^tracker '[^']+'( \([^:]+\))?: ")
"""The tracker's name before the cause of its failure."""
SILENT_WAIT_S: Final = 3.0
"""Seconds that the end of a run waits for trackers before it says so."""


class Trackers:
    """Tells the trackers of a run what its directory is told.

    They are opened when an attempt begins, and get first what ``metrics.jsonl`` has already: a tracker that was added
    when the run was resumed has the whole curve, and one that was there before is told nothing twice.

    Args:
        directory: the run's.
        notify: tells all observers something.
    """

    def __init__(self, directory: RunDirectory, notify: Callable[[Message], None]) -> None:
        self._directory = directory
        self._notify = notify
        self._settings = directory.config.run
        self._processes: list[TrackerProcess] = []
        self._step = 0

    def __call__(self, event: Event) -> None:
        """Pass on what trackers show, and say what became of them."""
        match event:
            case RunStarted():
                self._open(event)
            case StepFinished(record=record):
                self._log(record.step, record.metrics)
                if isinstance(record, StepRecord):
                    self._send_tables(record)
            case MetricsMeasured() | SuiteEvaluated() | HeldoutMeasured():
                self._log(event.step, event.metrics)
            case AlarmRaised():
                self._send(Alarm(event.step, event.kind, event.message))
            case RunEnded():
                self._close(Closing(event.status, event.cause))
        if not isinstance(event, Message):
            self._report()

    def _open(self, event: RunStarted) -> None:
        self._step = event.steps_done
        run = _tracked(self._directory, event.facts)
        folder = self._directory.path.absolute() / FOLDER
        for label, ref in _labeled(self._settings.trackers):
            opening = Opening(ref.name, ref.params, ref.timeout_s, run, folder / f"{label}.json")
            self._processes.append(TrackerProcess(ref, opening, folder / f"{label}.log"))
            self._send_earlier(self._processes[-1], Progress.of(opening))

    def _send_earlier(self, process: TrackerProcess, known: Progress) -> None:
        """Send a tracker what ``metrics.jsonl`` has already and it has not."""
        for line in self._directory.read_metrics():
            item = self._metrics(line["step"], {name: line[name] for name in line.keys() - NOT_METRICS})
            if known.new(item.step, item.metrics):
                process.send(item)

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._step = max(self._step, step)
        self._send(self._metrics(step, metrics))

    def _metrics(self, step: int, metrics: Mapping[str, float]) -> Metrics:
        """Return what is finite, as ``metrics.jsonl`` has it, under the names that the run chooses."""
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        return Metrics(step, in_trackers(step, finite, self._settings.metric_names))

    def _send_tables(self, record: StepRecord) -> None:
        every = getattr(self._settings, "rollouts_every", 1)
        most = max((ref.rollouts for ref in self._settings.trackers), default=0)
        if record.step % every or not most:
            return
        rows = table_rows(record, most)
        for process, ref in zip(self._processes, self._settings.trackers, strict=True):
            if rows[: ref.rollouts]:
                process.send(Table(record.step, rows[: ref.rollouts]))

    def _send(self, item: Item) -> None:
        for process in self._processes:
            process.send(item)

    def _report(self) -> None:
        """Say where trackers can be looked at, and which of them have failed; each once."""
        for process in self._processes:
            for note in process.notes():
                self._notify(Message(text=note))
            if process.failure is not None and not process.is_told:
                process.is_told = True
                cause = NAMED.sub("", process.failure)
                said = f"tracker {process.name!r} is detached: {cause} The run's own files have everything."
                self._notify(Message(text=said, kind="tracker_failed", step=self._step))

    def _close(self, last: Closing) -> None:
        """Let trackers end, each as long as it may take; Ctrl-C ends the wait."""
        for process in self._processes:
            process.close(last)
        try:
            self._wait()
        except KeyboardInterrupt:
            for process in self._processes:
                if not process.wait(0.0):
                    process.give_up("Ctrl-C ended the wait for it.")
        self._report()
        for process in self._processes:
            if lost := _lost(process):
                self._notify(Message(text=lost, kind="tracker_failed", step=self._step))

    def _wait(self) -> None:
        late = [process for process in self._processes if not process.wait(SILENT_WAIT_S)]
        if late:
            named = ", ".join(f"{process.name} (at most {process.timeout_s:g} s)" for process in late)
            self._notify(Message(text=f"waiting for trackers: {named}"))
        for process in late:
            if not process.wait():
                process.give_up(f"had not taken everything {process.timeout_s:g} s after the end of the run.")


def _tracked(directory: RunDirectory, facts: Mapping[str, str]) -> TrackedRun:
    """Describe a run to its trackers: a roll-back begins another curve, as its steps come again with other numbers."""
    manifest = directory.manifest
    again = f"-rollback-{manifest.rollbacks}" if manifest.rollbacks else ""
    settings: dict[str, Any] = directory.config.model_dump(mode="json")
    return TrackedRun(
        id=f"{manifest.run_id}{again}",
        name=f"{manifest.name}{again}",
        path=directory.path.absolute(),
        config=settings,
        facts={**manifest.environment, "device": manifest.device, **facts, "run_id": manifest.run_id},
    )


def _labeled(trackers: Sequence[TrackerRef]) -> Iterator[tuple[str, TrackerRef]]:
    """Pair each tracker with the name of its files."""
    taken: set[str] = set()
    for index, ref in enumerate(trackers):
        label = re.sub(r"[^\w-]+", "_", ref.name).strip("_")
        label = f"{label}_{index}" if label in taken else label
        taken.add(label)
        yield label, ref


def _lost(process: TrackerProcess) -> str:
    """Say what did not reach a tracker that was too slow."""
    counts = {"rollouts": process.backlog.dropped_rows, "records": process.backlog.dropped_items}
    lost = " and ".join(f"{count} {what}" for what, count in counts.items() if count)
    said = f"tracker {process.name!r} was too slow: {lost} did not reach it; the run's own files have them"
    return said if lost else ""
