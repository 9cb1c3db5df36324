"""Follow a run from its files: the lines that its own process prints, as they come."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from reasonrl.errors import ReasonRLError
from reasonrl.evaluation.files import read_summary
from reasonrl.run.events import StepFinished, StepMetrics
from reasonrl.run.files.manifest import read_manifest
from reasonrl.run.files.steps import folder_name
from reasonrl.run.history import NOT_METRICS, History
from reasonrl.run.status import num_steps_of
from reasonrl.run.terminal import PlainView
from reasonrl.system.jsonl import Record

FILES: Final = ("metrics.jsonl", "events.jsonl")
"""What is followed."""


class RunTail:
    """Prints what a run writes.

    A run that is resumed takes lines back and writes them again: what was printed once is not printed again.

    Args:
        run: the run.
        view: what prints.
    """

    def __init__(self, run: History, view: PlainView) -> None:
        self._run = run
        self._view = view
        view.num_steps = num_steps_of(run) or 0
        self._files = [_Follower(run.path / name) for name in FILES]

    def new_records(self) -> list[Record]:
        """Return what has come since the last call, in order."""
        return sorted((record for file in self._files for record in file.new()), key=lambda record: record["wall"])

    def print_new(self, last: int | None = None) -> None:
        """Print what has come since the last call.

        Args:
            last: print no more than so many lines, the last ones.
        """
        records = self.new_records()
        num_passed = 0 if last is None else max(len(records) - last, 0)
        for record in records[:num_passed]:
            self._view.take_in(_metrics(record))
        for record in records[num_passed:]:
            self._print(record)

    @property
    def is_over(self) -> bool:
        """Whether nothing follows, unless somebody resumes the run."""
        return read_manifest(self._run.path / "manifest.json").status != "running"

    def print_end(self) -> None:
        """Say how the run ended."""
        manifest = read_manifest(self._run.path / "manifest.json")
        self._view.print(f"{manifest.status}: {manifest.cause}" if manifest.cause else manifest.status)

    def _print(self, record: Record) -> None:
        """Print a line of either file."""
        step = record["step"]
        if "message" in record:
            self._view.print(f"{record['kind']} after step {step}: {record['message']}")
            return
        metrics = _metrics(record)
        heldout = {name: value for name, value in metrics.items() if name.startswith("heldout/")}
        if heldout:
            figures = " | ".join(self._heldout(step, name, value) for name, value in heldout.items() if _is_main(name))
            self._view.print(f"step {step}/{self._view.num_steps} | held-out | {figures}")
        elif "seconds/step" in metrics or "rm/loss" in metrics:
            self._view(StepFinished(record=StepMetrics(step=step, metrics=metrics)))

    def _heldout(self, step: int, name: str, value: float) -> str:
        """Return a held-out figure, with its interval where the results are there."""
        suite = name.removeprefix("heldout/")
        # A resumed run replaces results, and a reward model has none.
        with suppress(ReasonRLError, LookupError, TypeError):
            main = read_summary(self._run.path / "evals" / folder_name(step) / suite)["metrics"][0]
            return f"{suite} {main['value']:.1%} [{main['ci']['lower']:.1%}, {main['ci']['upper']:.1%}]"
        return f"{suite} {value:.3f}" if suite in ("loss", "margin") else f"{suite} {value:.1%}"


class _Follower:
    """Returns the lines that a file has got, each once; also where the file is replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[bytes] = set()
        self._inode = -1
        self._size = 0

    def new(self) -> Iterator[Record]:
        """Yield the records of finished lines that were not there before."""
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            self._begin_again_if_replaced(os.fstat(file.fileno()))
            file.seek(self._size)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._size += len(line)
                if line not in self._seen:
                    self._seen.add(line)
                    yield json.loads(line)

    def _begin_again_if_replaced(self, status: os.stat_result) -> None:
        if status.st_ino != self._inode or status.st_size < self._size:
            self._inode, self._size = status.st_ino, 0


def _metrics(record: Record) -> dict[str, float]:
    """Return the numbers of a line."""
    return {name: value for name, value in record.items() if name not in NOT_METRICS and isinstance(value, float | int)}


def _is_main(name: str) -> bool:
    return name.count("/") == 1
