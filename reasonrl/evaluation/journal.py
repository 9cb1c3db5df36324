"""The rows of an evaluation while it is under way, so that one that was ended goes on where it was.

``setup.json`` says what the rows depend on, ``samples.jsonl`` grows by a row for each completion that is measured. The
same setup reads the rows back; another one is refused with what differs. The finished result replaces the rows by the
same ones in order.
"""

import fcntl
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydantic import TypeAdapter, ValidationError

from reasonrl.errors import DataError, RunError
from reasonrl.evaluation.files import RESULTS, SAMPLES
from reasonrl.evaluation.results import SampleResult
from reasonrl.system import jsonl
from reasonrl.system.atomic import write_atomically
from reasonrl.system.disk import disk_errors

SETUP: Final = "setup.json"
SCHEMA_VERSION: Final = 1
AGAIN: Final = "then give the command again: it goes on where it was."

Setup = Mapping[str, Any]
"""What rows depend on. Any: JSON values."""

_ROW: Final = TypeAdapter(SampleResult)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """A row as it is kept while the evaluation runs."""

    row: SampleResult
    token_ids: tuple[int, ...]
    """The completion's tokens, which a metric or a reward may look at; empty where the row was read from a result."""


class Journal:
    """The rows of one suite's evaluation in a folder; one process at a time.

    Args:
        folder: of the suite's results; made when it is opened.
        facts: what rows depend on beside the suite and its sampling, as JSON values: the model, the rewards.
        overwrite: begin anew where something is there.
    """

    def __init__(self, folder: Path, facts: Setup | None = None, *, overwrite: bool = False) -> None:
        self.folder, self.facts, self.overwrite = folder, dict(facts or {}), overwrite
        self._file: BinaryIO | None = None

    @property
    def is_new(self) -> bool:
        """Whether there is nothing that would go on: no row yet, and no result."""
        if self.overwrite or not (self.folder / SETUP).exists():
            return True
        return not (self._has_rows or (self.folder / RESULTS).exists())

    @property
    def _has_rows(self) -> bool:
        samples = self.folder / SAMPLES
        return samples.exists() and samples.stat().st_size > 0

    @property
    def is_finished(self) -> bool:
        """Whether the result is there, and would not be replaced."""
        return not self.overwrite and (self.folder / RESULTS).exists()

    def require_fitting(self, setup: Setup) -> None:
        """Refuse a folder that holds something else, as far as the setup is known.

        Args:
            setup: without ``facts``; what it leaves out is not compared.

        Raises:
            RunError: the folder has rows or results of another setup, or that were not written by an evaluation.
        """
        if self.overwrite:
            return
        if not (self.folder / SETUP).exists():
            return self._require_free()
        if self.is_new:
            return
        earlier, now = _flat(self._earlier_setup()), _flat({**setup, **self.facts})
        differing = [
            f"{name} was {_shown(earlier.get(name))} and is {_shown(now[name])} now"
            for name in sorted(now)
            if now[name] != earlier.get(name)
        ]
        if differing:
            raise RunError(
                f"{self.folder} holds an evaluation of another setup: {'; '.join(differing)}. Give --out FOLDER, or "
                "--overwrite to begin anew."
            )

    def _require_free(self) -> None:
        if (self.folder / RESULTS).exists():
            raise RunError(f"{self.folder} holds results already. Give --out FOLDER, or --overwrite to replace them.")
        if self._has_rows:
            raise RunError(
                f"{self.folder / SAMPLES} is there, but neither {SETUP} nor {RESULTS}: it is not of an evaluation. "
                "Give --out FOLDER."
            )

    def _earlier_setup(self) -> Setup:
        path = self.folder / SETUP
        try:
            setup: Setup = json.loads(path.read_bytes())["setup"]
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{path}: is not what reasonrl wrote there. Restore it, or give --overwrite.") from None
        return setup

    def open(self, setup: Setup) -> list[JournalRow]:
        """Begin to write, and return the rows that are there, the last one for each completion.

        Raises:
            RunError: the folder is of another setup, cannot be written, or another process writes it.
            DataError: a row cannot be read.
        """
        self.require_fitting(setup)
        with disk_errors(self.folder, AGAIN):
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.overwrite:
                (self.folder / RESULTS).unlink(missing_ok=True)
            self._file = (self.folder / SAMPLES).open("a+b", buffering=0)
            self._lock(self._file)
            if self.is_new:  # the rows first: those of another setup must never stand under this one
                self._file.truncate(0)
                write_atomically(self.folder / SETUP, _record({**setup, **self.facts}))
            jsonl.drop_unfinished_line(self._file)
        return self._rows()

    def _lock(self, file: BinaryIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise RunError(
                f"{self.folder}: another process is measuring there. Stop it, or wait for its end."
            ) from None

    def _rows(self) -> list[JournalRow]:
        path = self.folder / SAMPLES
        rows = [_read(record, f"{path}:{number}") for number, record in enumerate(jsonl.read(path), start=1)]
        return list({(each.row.problem_id, each.row.sample_index): each for each in rows}.values())

    def append(self, row: SampleResult, token_ids: tuple[int, ...]) -> None:
        """Add a row; it outlives this process.

        Raises:
            RunError: the disk is full.
        """
        assert self._file is not None, "the journal is open"
        with disk_errors(self.folder / SAMPLES, AGAIN):
            self._file.write(jsonl.encode([{**asdict(row), "token_ids": token_ids}]))

    def close(self) -> None:
        """Let other processes write. Closing twice is closing once."""
        if self._file is not None:
            self._file.close()


def _record(setup: Setup) -> bytes:
    return json.dumps({"schema_version": SCHEMA_VERSION, "setup": setup}, indent=2, ensure_ascii=False).encode() + b"\n"


def _read(record: Mapping[str, Any], where: str) -> JournalRow:
    """Read one line. Any: JSON values."""
    try:
        return JournalRow(row=_ROW.validate_python(record), token_ids=tuple(record.get("token_ids", ())))
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"{where}: is no row of an evaluation: {'.'.join(map(str, first['loc']))}: {first['msg']}. Give "
            "--overwrite to begin anew."
        ) from None


def _flat(setup: Setup, prefix: str = "") -> dict[str, Any]:
    """Return a setup by key path. Any: JSON values."""
    flat: dict[str, Any] = {}
    for name, value in setup.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    as_read: dict[str, Any] = json.loads(json.dumps(flat))  # a tuple is a list in the file
    return as_read


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
