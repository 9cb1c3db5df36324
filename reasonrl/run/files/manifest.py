"""What a run is, where it came from and how it stands: ``manifest.json``."""

import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from reasonrl import __version__
from reasonrl.config.kinds import KINDS, AnyConfig, KindName, kind_of
from reasonrl.config.runfile import dump_run
from reasonrl.errors import RunError
from reasonrl.system.atomic import write_atomically
from reasonrl.types import digest

SCHEMA_VERSION: Literal[2] = 2
"""Version of a run directory: its manifest, configuration and checkpoints."""

RECORD_VERSION: Literal[1] = 1
"""Version of the lines in metrics.jsonl, events.jsonl and the index of checkpoints."""

Status: TypeAlias = Literal["running", "interrupted", "failed", "finished"]


class Change(BaseModel):
    """Settings that were changed when the run was resumed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    """Steps done."""
    wall: str
    """When, in UTC."""
    settings: dict[str, tuple[Any, Any]]
    """Value before and after, by key. Any: JSON values."""


class Manifest(BaseModel):
    """Identity, origin and state of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[2] = SCHEMA_VERSION
    kind: KindName = "policy"
    """What the run trains; its settings are those of the kind."""
    run_id: str
    """Unlike that of any other run, also of one with the same name elsewhere."""
    name: str
    created: str
    """When, in UTC."""
    argv: tuple[str, ...]
    """The command that started the run."""
    environment: dict[str, str]
    """Versions of what the run depends on."""
    device: str
    seed: int
    config_sha: str
    """Digest of ``config.resolved.yaml``."""
    settings: dict[str, Any] | None = None
    """Everything that decides the run by key, defaults of its plugins and digests of its data included, to be compared
    when it is resumed. Any: JSON values."""
    compute: dict[str, Any] | None = None
    """How the model is computed: chosen when the run begins, and kept when it is resumed, on another machine too. See
    :class:`reasonrl.models.compute.Compute`. Any: JSON values."""
    changes: tuple[Change, ...] = ()
    """What was changed when the run was resumed."""
    control: str | None = None
    """What took the place of the run file's rewards, in a control run: ``random``, ``format``, ``inverted``."""
    parent: dict[str, str | int] | None = None
    """``run`` and ``step`` that made the model that this run began with, ``export`` where that was exported, and
    ``position`` where a fork goes on in the other run's data."""
    status: Status = "running"
    cause: str | None = None
    """Why the run is interrupted or failed."""
    attempts: int = 1
    """How often the run was started or resumed."""
    rollbacks: int = 0
    """How often an alarm sent the run back to an earlier checkpoint."""

    @property
    def began_with(self) -> str | None:
        """The checkpoint of another run, or the exported folder, that it began with; None where it was no run's."""
        if self.parent is None:
            return None
        step = f"@{self.parent['step']}" if "step" in self.parent else ""
        return str(self.parent.get("export", f"{self.parent['run']}{step}"))

    def was_the_end(self, step: int) -> bool:
        """Say whether the run was over after this step before it was made longer."""
        return any(change.step == step and "run.steps" in change.settings for change in self.changes)


def new_manifest(
    config: AnyConfig,
    environment: Mapping[str, str],
    argv: Sequence[str],
    parent: Mapping[str, str | int] | None,
    settings: Mapping[str, Any] | None = None,
    control: str | None = None,
) -> Manifest:
    """Describe a run that begins now; ``device`` of the environment becomes a field of its own. Any: JSON values."""
    return Manifest(
        kind=kind_of(config).name,
        run_id=uuid.uuid4().hex,
        name=config.name,
        created=now(),
        argv=tuple(argv),
        environment={key: value for key, value in environment.items() if key != "device"},
        device=environment.get("device", config.model.device),
        seed=config.seed,
        config_sha=digest(dump_run(config)),
        settings=None if settings is None else dict(settings),
        control=control,
        parent=None if parent is None else dict(parent),
    )


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        RunError: it is not one, or one of a version this program does not know.
    """
    content = path.read_bytes()
    _refuse_other_version(path, content)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{path}: {where + ': ' if where else ''}{first['msg']}. The file was changed by hand, or "
            "written by another version of reasonrl: use that version, or start a new run."
        ) from None


def command_for(folder: Path) -> str:
    """Return the command that trains what is in a folder, whatever state it is in."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return KINDS[json.loads((folder / "manifest.json").read_bytes())["kind"]].command
    return KINDS["policy"].command


def _refuse_other_version(path: Path, content: bytes) -> None:
    """Refuse a run that another version of reasonrl started, and name that version."""
    try:
        found = json.loads(content)
        version, wrote = found["schema_version"], found["environment"].get("reasonrl", "unknown")
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # not a manifest at all: its validation says what is wrong
    if version != SCHEMA_VERSION:
        raise RunError(
            f"{path.parent} was started by reasonrl {wrote}, whose run directories have version {version}; this is "
            f"reasonrl {__version__}, which reads version {SCHEMA_VERSION}. Resume or fork it with reasonrl {wrote}, "
            "or start a new run."
        )


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace a manifest."""
    write_atomically(path, manifest.model_dump_json(indent=2).encode() + b"\n")


def now() -> str:
    """Return the time in UTC, as records have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
