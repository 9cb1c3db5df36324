"""Trackers for tests: one that writes down what it is told, and others that fail in their own ways."""

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from builders import group, run_config

from reasonrl.plugins.types import TrackedRun
from reasonrl.run.events import Event, Message, RunEnded, RunStarted, StepFinished
from reasonrl.run.files import RunDirectory
from reasonrl.run.observers import Observers
from reasonrl.run.recorder import RunRecorder
from reasonrl.run.trackers.observer import Trackers
from reasonrl.types import RewardResult, Score, StepRecord

SOURCE = '''
import ctypes
import json
import os
import signal
import time
from pathlib import Path


class Notes:
    """Writes a line for each call."""

    def __init__(self, run, file):
        self.file = file
        self.where = f"less {file}"
        self.write(call="open", id=run.id, name=run.name, path=str(run.path), config=run.config, facts=dict(run.facts))

    def log(self, step, metrics):
        self.write(call="log", step=step, metrics=dict(metrics))

    def table(self, step, rows):
        self.write(call="table", step=step, rows=[dict(row) for row in rows])

    def alarm(self, step, kind, message):
        self.write(call="alarm", step=step, kind=kind, message=message)

    def close(self, status, cause):
        self.write(call="close", status=status, cause=cause)

    def write(self, **record):
        with open(self.file, "a") as file:
            file.write(json.dumps(record) + "\\n")


def notes(run, *, file: str = "notes.jsonl"):
    return Notes(run, Path(file))


class Failing(Notes):
    """Does something at step 2."""

    def log(self, step, metrics):
        if step == 2:
            self.fail()
        super().log(step, metrics)


class Raising(Failing):
    def fail(self):
        raise ValueError("no such project")


class Sleeping(Failing):
    def fail(self):
        time.sleep(60)


class Stuck(Failing):
    def fail(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        ctypes.PyDLL(None).sleep(60)  # holds the interpreter, so that no other thread runs


class Leaving(Failing):
    def fail(self):
        os._exit(7)


class Lingering(Notes):
    def close(self, status, cause):
        time.sleep(60)


def raising(run, *, file: str = "raising.jsonl"):
    return Raising(run, Path(file))


def sleeping(run, *, file: str = "sleeping.jsonl"):
    return Sleeping(run, Path(file))


def stuck(run, *, file: str = "stuck.jsonl"):
    return Stuck(run, Path(file))


def leaving(run, *, file: str = "leaving.jsonl"):
    return Leaving(run, Path(file))


def lingering(run, *, file: str = "lingering.jsonl"):
    return Lingering(run, Path(file))


def full(run):
    return Notes(run, Path("/dev/full"))


def unable(run):
    raise SystemExit("log in first")


def chatty(run):
    print("A link: http://somewhere")
    return Notes(run, Path("chatty.jsonl"))
'''


class TrackedTest:
    """The events of a run, told to its directory and its trackers.

    Args:
        trackers: as in a run file. Any: values of settings.
        settings: of the group ``run``. Any: as above.
    """

    def __init__(self, trackers: Sequence[Any], **settings: Any) -> None:
        Path("bad.py").write_text(SOURCE)
        self.messages: list[Message] = []
        self.config = run_config(run={"steps": 9, "trackers": list(trackers), **settings})
        self.directory = RunDirectory.create(self.config, "name: test\n", environment={"torch": "2"}, argv=["test"])
        self.begin()

    def begin(self, done: int = 0) -> None:
        """Begin an attempt."""
        self._told = Observers([RunRecorder(self.directory, self.config), self._hear])
        self._told.add(Trackers(self.directory, self._told.notify))
        self.tell(
            RunStarted(
                config=self.config,
                path=self.directory.path,
                steps_done=done,
                num_steps=9,
                facts={"model": "tiny (1 M parameters)"},
            )
        )

    def tell(self, event: Event) -> None:
        """Tell everybody of an event."""
        self._told.notify(event)

    def step(self, number: int, **changes: float) -> None:
        """Tell of a step with one group of two completions."""
        measured = {"reward/mean": 0.1 * number, "reward/right": 0.2, "scoring/right/failure_rate": 0.0}
        metrics = {**measured, "heldout/never": float("nan"), **changes}
        scores = (Score(1.0, "right"), Score(0.0, "wrong"))
        results = tuple(RewardResult(total=score, rewards={"right": score}) for score in scores)
        members = group(["4", "<script>5\x1b[31m \ud83d"])
        batch = _batch(members, results, number)
        record = StepRecord(
            batch=batch, advantages=((0.5, -0.5),), policy_version=0, measured={}, seconds={}, metrics=metrics
        )
        self.tell(StepFinished(record=record))

    def end(self, status: Any = "finished") -> None:
        """End the attempt, and wait for the processes of its trackers. Any: a status of RunEnded."""
        self._told.end(RunEnded(status=status, cause="killed" if status == "failed" else None), failing=False)
        for thread in threading.enumerate():
            if thread.name.startswith("tracker "):
                thread.join(30)

    @property
    def failures(self) -> list[str]:
        """What was said of trackers that failed."""
        return [message.text for message in self.messages if message.kind == "tracker_failed"]

    def _hear(self, event: Event) -> None:
        if isinstance(event, Message):
            self.messages.append(event)


def _batch(members: Any, results: Any, step: int) -> Any:
    from builders import batch

    return batch([members], [results], step=step)


def noted(file: str = "notes.jsonl", call: str = "") -> list[dict[str, Any]]:
    """What a tracker has written down, of one kind of call if one is named. Any: JSON."""
    lines = [json.loads(line) for line in Path(file).read_text().splitlines()]
    return [line for line in lines if not call or line["call"] == call]


def numbers(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[int, str], float]:
    """The numbers of lines of ``metrics.jsonl`` by step and name. Any: JSON."""
    fields = ("schema_version", "step", "wall", "dropped_non_finite")
    return {(line["step"], name): value for line in lines for name, value in line.items() if name not in fields}


def tracked(path: Path, **changes: Any) -> TrackedRun:
    """A run as a tracker sees it. Any: fields of TrackedRun."""
    fields = {"id": "a" * 32, "name": "one", "path": path, "config": {"seed": 0}, "facts": {"run_id": "a" * 32}}
    return TrackedRun(**{**fields, **changes})
