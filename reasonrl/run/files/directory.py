"""One run on disk: written while it trains, read back to continue it or to look at it."""

import json
import math
import os
import shlex
import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Self

from reasonrl.config.kinds import KINDS, AnyConfig, Kind, KindName
from reasonrl.config.runfile import dump_run, load_settings
from reasonrl.errors import ConfigError, RunError, and_known
from reasonrl.run.files.checkpoint import seal
from reasonrl.run.files.claim import publish, require_free
from reasonrl.run.files.lock import lock
from reasonrl.run.files.manifest import (
    RECORD_VERSION,
    Change,
    Manifest,
    Status,
    new_manifest,
    now,
    read_manifest,
    write_manifest,
)
from reasonrl.run.files.rollouts import RolloutRecord, TokenEndsOf, read_rollouts, rollout_records
from reasonrl.run.files.steps import by_step, folder_name
from reasonrl.run.reward_beside_metric import suites_of
from reasonrl.system import jsonl
from reasonrl.system.atomic import partial_of, publish_folder, remove, remove_partials, sync, write_atomically
from reasonrl.system.disk import disk_errors, full_disk_recognized, require_writable
from reasonrl.types import StepRecord, digest

_PARTS = ("manifest.json", "config.input.yaml", "config.resolved.yaml")
"""Files that make a folder a run directory."""
EVALUATION: Final = "evaluation.json"
MODEL: Final = "model"
"""Folder of the finished model, where that is more than the latest checkpoint."""


class RunDirectory:
    """A folder with everything about one run; make it with :meth:`create`, :meth:`open` or :meth:`resume`.

    What grows is appended to, what is replaced is written beside and renamed, so that a kill at any moment
    leaves a directory that can be read and resumed.
    """

    def __init__(self, path: Path, config: AnyConfig, manifest: Manifest) -> None:
        self.path = path
        self.config = config
        self.manifest = manifest

    @classmethod
    def create(
        cls,
        config: AnyConfig,
        source: str,
        *,
        environment: Mapping[str, str],
        argv: Sequence[str],
        parent: Mapping[str, str | int] | None = None,
        data: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        settings: Mapping[str, Any] | None = None,
        control: str | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Make the directory of a new run, complete or not at all.

        Args:
            config: the run.
            source: the run file as it was given.
            environment: versions worth knowing later, and under ``device`` the device in use.
            argv: the command.
            parent: ``run`` and ``step`` that made the model that this run begins with.
            data: where the problems come from. Any: JSON values.
            files: further files by name, such as data that was made for this run.
            settings: everything that decides the run, which it is compared with when it is resumed. Any: JSON values.
            control: what took the place of the run file's rewards, in a control run.
            overwrite: replace a run that is there; one that ended before its first step is replaced anyway.

        Raises:
            RunError: the directory exists, or cannot be written.
        """
        cls.refuse_existing(config, overwrite=overwrite)
        path = Path(config.run.root) / config.name
        run = cls(path, config, new_manifest(config, environment, argv, parent, settings, control))
        building = partial_of(path.with_name(f"{path.name}.{os.getpid()}"))
        with disk_errors(path, "then start the run again, or set run.root to another disk."):
            try:
                run._build(building, source, data or {}, files or {})
            finally:
                shutil.rmtree(building, ignore_errors=True)
        return run

    @staticmethod
    def refuse_existing(config: AnyConfig, *, overwrite: bool = False) -> None:
        """Raise the errors of :meth:`create` early, before anything heavy is loaded."""
        path = Path(config.run.root) / config.name
        require_free(path, overwrite=overwrite, needs=config.model.name)
        require_writable(path, "then start the run again, or set run.root to another disk.")

    def _build(self, building: Path, source: str, data: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Fill a folder nobody looks for, then give it its name. Any: JSON values."""
        for name in ("evals", "checkpoints", *(["rollouts"] if self.kind.name == "policy" else [])):
            (building / name).mkdir(parents=True)
        write_atomically(building / "config.input.yaml", source.encode())
        write_atomically(building / "config.resolved.yaml", dump_run(self.config).encode())
        write_atomically(building / "data.json", jsonl.encode([{"schema_version": RECORD_VERSION, **data}]))
        for name, content in files.items():
            write_atomically(building / name, content)
        write_manifest(building / "manifest.json", self.manifest)
        publish(building, self.path)
        self._hold()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Look at a run; nothing in it is changed, so it may be training meanwhile.

        Raises:
            RunError: it is not a run directory; the message names the missing part and the nearest run.
        """
        for part in _PARTS:
            if not (path / part).is_file():
                what = f"it has no {part}" if path.is_dir() else "there is no such folder"
                raise RunError(f"{path} is not a run directory: {what}.{_other_runs(path)}")
        manifest = read_manifest(path / "manifest.json")  # first: the settings of another version are unknown here
        return cls(path, load_settings(path / "config.resolved.yaml", (), KINDS[manifest.kind].settings), manifest)

    @classmethod
    def resume(cls, path: Path) -> Self:
        """Open a run to continue it: count an attempt and clear away what a kill left unfinished.

        Its status stays what it was until it runs again.

        Raises:
            RunError: it is not a run directory, or another process is training in it.
        """
        run = cls.open(path)
        with run._writing(path / "manifest.json"):
            run._hold()
            remove_partials(path)
        run._replace_manifest(attempts=run.manifest.attempts + 1)
        return run

    def _hold(self) -> None:
        weakref.finalize(self, os.close, lock(self.path))

    @property
    def kind(self) -> Kind:
        """What the run trains."""
        return KINDS[self.manifest.kind]

    @property
    def resume_command(self) -> str:
        """The command that continues the run."""
        return f"{self.kind.command} --resume {shlex.quote(str(self.path))}"

    @property
    def then_resume(self) -> str:
        """Say what to do once the disk has space again."""
        return f"then resume with: {self.resume_command}"

    def _writing(self, path: Path) -> AbstractContextManager[None]:
        return disk_errors(path, self.then_resume)

    # manifest and other records of the whole run

    def set_status(self, status: Status, cause: str | None = None) -> None:
        """Record how the run stands, and why if it stopped early."""
        self._replace_manifest(status=status, cause=cause)

    def record_compute(self, compute: Mapping[str, Any]) -> None:
        """Record how the run's model is computed, once. Any: JSON values."""
        if self.manifest.compute is None:
            self._replace_manifest(compute=dict(compute))

    def reconfigure(self, config: AnyConfig, settings: Mapping[str, Any], changed: Change) -> None:
        """Go on with other settings, and keep what they were.

        Args:
            config: the run from now on.
            settings: everything that decides it. Any: JSON values.
            changed: what differs.
        """
        path, text = self.path / "config.resolved.yaml", dump_run(config)
        with self._writing(path):
            write_atomically(path, text.encode())
        self.config = config
        changes = (*self.manifest.changes, changed)
        self._replace_manifest(config_sha=digest(text), settings=dict(settings), changes=changes)

    def _replace_manifest(self, **changes: object) -> None:
        manifest = self.manifest.model_copy(update=changes)
        path = self.path / "manifest.json"
        with self._writing(path):
            write_manifest(path, manifest)
        self.manifest = manifest

    def write_startup(self, report: str) -> Path:
        """Keep the start-up report; return where it stands."""
        return self.write_text(self.path / "startup.md", report)

    def write_text(self, path: Path, text: str) -> Path:
        """Write a file for people, somewhere in the directory; return its place."""
        with self._writing(path):
            write_atomically(path, text.encode())
        return path

    # what grows with the steps

    def append_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add one line of numbers; those that are not finite are left out and counted."""
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        self._append("metrics.jsonl", step, finite, dropped_non_finite=len(metrics) - len(finite))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return every line of metrics. Any: numbers, and the time as text."""
        return jsonl.read(self.path / "metrics.jsonl")

    def append_event(self, kind: str, message: str, step: int) -> None:
        """Add something a person should know about the run."""
        self._append("events.jsonl", step, {}, kind=kind, message=message)

    def read_events(self) -> list[dict[str, Any]]:
        """Return every event. Any: JSON values."""
        return jsonl.read(self.path / "events.jsonl")

    def _append(self, file: str, step: int, named: Mapping[str, float], **fields: str | int) -> None:
        """Add one dated line to a file; its own fields win over a metric of the same name."""
        path = self.path / file
        record = {"schema_version": RECORD_VERSION, "step": step, "wall": now()}
        with self._writing(path):
            jsonl.append(path, {**record, **named, **record, **fields})

    def write_rollouts(self, record: StepRecord, token_ends: TokenEndsOf | None = None) -> None:
        """Write a step's completions, with their scores and reasons, one a line.

        Args:
            record: the step.
            token_ends: finds the tokens in a completion's text; without it the records have none.
        """
        path = self.path / "rollouts" / f"{folder_name(record.step)}.jsonl"
        with self._writing(path):
            write_atomically(path, jsonl.encode(line.model_dump() for line in rollout_records(record, token_ends)))

    def read_rollouts(self, step: int) -> list[RolloutRecord]:
        """Return the trajectories of a step.

        Raises:
            RunError: there is no file of that step, or it is not one.
        """
        path = self.path / "rollouts" / f"{folder_name(step)}.jsonl"
        if not path.is_file():
            steps = ", ".join(str(at) for at, _ in by_step(self.path / "rollouts")) or "none"
            raise RunError(f"{path}: there is no such file. Steps with rollouts: {steps}.")
        return list(read_rollouts(path))

    def eval_folder(self, step: int, suite_name: str) -> Path:
        """Return the folder for the results of a suite after a step, made if need be."""
        if "/" in suite_name or suite_name in ("", ".", ".."):
            raise RunError(f"suite {suite_name!r}: results go to a folder of that name. Use a name without '/'.")
        path = self.path / "evals" / folder_name(step) / suite_name
        with self._writing(path):
            path.mkdir(parents=True, exist_ok=True)
        return path

    def write_evaluation(self, step: int, evaluation: Mapping[str, Any] | None) -> None:
        """Write down the figures of a measurement, before the line of metrics that says they are there. Any: JSON."""
        folder = self.path / "evals" / folder_name(step)
        record = {"schema_version": RECORD_VERSION, "step": step, "evaluation": evaluation}
        with self._writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / EVALUATION, json.dumps(record, indent=2).encode() + b"\n")

    def read_evaluation(self, step: int) -> Any:
        """Return what :meth:`write_evaluation` was given. Any: JSON.

        Raises:
            RunError: there is no such file, or it was changed.
        """
        path = self.path / "evals" / folder_name(step) / EVALUATION
        try:
            return json.loads(path.read_bytes())["evaluation"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path}: cannot be read ({type(error).__name__}: {error}). To measure again, remove the lines of step "
                f"{step} with 'heldout/' from {self.path / 'metrics.jsonl'}, {self.then_resume}"
            ) from None

    def evaluated_suites(self, step: int) -> set[str]:
        """Return the suites whose results after a step are complete."""
        return set(suites_of(name for line in self.read_metrics() if line["step"] == step for name in line))

    # checkpoints and the finished model

    def save_checkpoint(self, step: int, position: int, write: Callable[[Path], None], keep: int) -> Path:
        """Make a checkpoint complete or not at all, then remove all but the latest ``keep``; return its folder.

        Args:
            step: steps done.
            position: problems used.
            write: fills the empty folder it is given.
            keep: how many checkpoints stay.
        """

        def fill(building: Path) -> None:
            write(building)
            seal(building, step=step, position=position)

        path = self._publish(self._checkpoint_path(step), fill)
        self._list_checkpoint(step)
        with self._writing(path):
            for old in sorted(self.checkpoints())[:-keep]:
                remove(self._checkpoint_path(old))
        return path

    def publish_model(self, write: Callable[[Path], None]) -> Path:
        """Make the folder of the finished model, complete or not at all; return it.

        Args:
            write: fills the empty folder it is given.
        """
        return self._publish(self.path / MODEL, write)

    def _publish(self, path: Path, write: Callable[[Path], None]) -> Path:
        """Fill a folder that nobody looks for, sync the records that it goes with, then give it its name."""
        building = partial_of(path)
        try:
            with self._writing(path):
                building.mkdir()
                with full_disk_recognized(building):
                    write(building)
                for records in (self.path / "metrics.jsonl", self.path / "events.jsonl"):
                    if records.exists():
                        sync(records)
                publish_folder(building, path)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return path

    def checkpoints(self) -> dict[int, Path]:
        """Return the checkpoints on disk by step, the earliest first; each is complete."""
        return dict(by_step(self.path / "checkpoints"))

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        """Return step and folder of the latest checkpoint, if there is one."""
        return max(self.checkpoints().items(), default=None)

    def checkpoint_at(self, wanted: str) -> tuple[int, Path]:
        """Return step and folder of the checkpoint of a step as typed by a user; of the latest for an empty text.

        Raises:
            RunError: there is none; the message lists those that are there.
        """
        available = self.checkpoints()
        step = wanted or str(max(available, default=""))
        if not step.isdigit() or int(step) not in available:
            steps = ", ".join(map(str, available)) or "none"
            raise RunError(f"{self.path}: there is no checkpoint of step {step!r}. Steps with one: {steps}.")
        return int(step), available[int(step)]

    def _checkpoint_path(self, step: int) -> Path:
        """Return where the checkpoint of a step stands."""
        return self.path / "checkpoints" / folder_name(step)

    def _list_checkpoint(self, step: int) -> None:
        self._append("checkpoints/index.jsonl", step, {})

    def roll_back(self, step: int | None, *, at: int, cause: str) -> None:
        """Go back to a checkpoint because of an alarm, and count that.

        The event, and the rollouts of the step it happened at, outlive this rewind and all later ones.

        Args:
            step: the checkpoint's step; None for the start.
            at: the step of the alarm.
            cause: the alarm in words.
        """
        number = self.manifest.rollbacks + 1
        rollouts = self.path / "rollouts" / f"{folder_name(at)}.jsonl"
        if rollouts.exists():
            kept = rollouts.with_name(f"rollback_{number}_{rollouts.name}")
            with self._writing(kept):
                os.replace(rollouts, kept)
            cause += f" The rollouts of step {at} are kept as rollouts/{kept.name}."
        place = "the start" if step is None else f"the checkpoint of step {step}"
        self._rewind(step, "rolled_back", f"roll-back {number}, from step {at} to {place}: {cause}")
        self._replace_manifest(rollbacks=number)

    def rewind(self, step: int | None) -> None:
        """Drop what came after a checkpoint, so that the files continue as if nothing had happened.

        Args:
            step: the checkpoint's step; None when there is no checkpoint and the run begins anew.
        """
        origin = "the start: there is no checkpoint" if step is None else f"the checkpoint of step {step}"
        self._rewind(step, "resumed", f"attempt {self.manifest.attempts} from {origin}")

    def _rewind(self, step: int | None, kind: str, message: str) -> None:
        """Drop what came after a checkpoint, and say so in an event; events of roll-backs stay."""
        last = -1 if step is None else step
        with self._writing(self.path):
            # Checkpoints first: killed in between, the run must not resume from one whose records are gone.
            for folder in ("checkpoints", "evals", "rollouts"):
                for later in [path for at, path in by_step(self.path / folder) if at > last]:
                    remove(later)
            if (self.path / MODEL).exists():
                remove(self.path / MODEL)  # it is made again, after the last step
            for file in ("checkpoints/index.jsonl", "metrics.jsonl", "events.jsonl"):
                jsonl.keep(
                    self.path / file, lambda record: record["step"] <= last or record.get("kind") == "rolled_back"
                )
        self._list_unlisted()
        self.append_event(kind, message, max(last, 0))

    def _list_unlisted(self) -> None:
        listed = {line["step"] for line in jsonl.read(self.path / "checkpoints" / "index.jsonl")}
        for step in sorted(self.checkpoints().keys() - listed):
            self._list_checkpoint(step)


def require_kind(directory: RunDirectory, kind: KindName, option: str) -> None:
    """Refuse a run that another command trains.

    Raises:
        ConfigError: it does; the message has that command with the option.
    """
    found = directory.kind
    if found.name != kind:
        raise ConfigError(
            f"{directory.path} trains {found.trains}, not {KINDS[kind].trains}: use {found.command} {option}"
        )


def _other_runs(path: Path) -> str:
    return and_known(path.name, [found.parent.name for found in path.parent.glob("[!.]*/manifest.json")])
