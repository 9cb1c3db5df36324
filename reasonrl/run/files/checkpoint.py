"""What a checkpoint holds: one manifest that names every part, so that none can be missing unnoticed."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from reasonrl.errors import RunError
from reasonrl.rollout.buffer import BufferState
from reasonrl.run.files.manifest import SCHEMA_VERSION
from reasonrl.system.atomic import write_atomically
from reasonrl.types import Batch

CHECKPOINT_FILE = "checkpoint.json"
PENDING_FILE = "pending.json"
BUFFER_FILE = "buffer.json"
ORDER_FILE = "order.json"
_BATCH = TypeAdapter(Batch)
_BUFFER = TypeAdapter(BufferState)
_READ_BYTES = 2**22

Loaded = TypeVar("Loaded")


class Part(BaseModel):
    """A file of a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int
    crc32: int


class Checkpoint(BaseModel):
    """The state of a run after a step: where it stands, and the files that hold the rest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[2] = SCHEMA_VERSION
    step: int
    position: int
    """Problems at the beginning of the endless stream that were used. The next step begins there; where sampling runs
    several steps ahead, steps may have used later ones as well, which the buffer tells."""
    parts: dict[str, Part]
    """Every other file of the folder, by its path in it."""


def seal(folder: Path, *, step: int, position: int) -> None:
    """Write the manifest of a checkpoint whose other files are all there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = {path.relative_to(folder).as_posix(): _part(path) for path in files}
    manifest = Checkpoint(step=step, position=position, parts=parts)
    write_atomically(folder / CHECKPOINT_FILE, manifest.model_dump_json(indent=2).encode() + b"\n")


def verify(folder: Path, train: str = "reasonrl train") -> Checkpoint:
    """Read a checkpoint's manifest and compare every part with it.

    Args:
        folder: the checkpoint.
        train: the command that its kind of runs is trained with.

    Raises:
        RunError: the manifest or a part is missing or changed; the message names it.
    """
    advice = f"Resume from another checkpoint by removing this folder, or fork one: {train} --fork"
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        raise RunError(f"{folder}: lacks {CHECKPOINT_FILE}. {advice}")
    try:
        checkpoint = Checkpoint.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RunError(f"{path}: {error.errors()[0]['msg']}. {advice}") from None
    for name, expected in checkpoint.parts.items():
        if not (folder / name).is_file():
            raise RunError(f"{folder}: lacks {name}. {advice}")
        if _part(folder / name) != expected:
            raise RunError(f"{folder / name} is not the file that was written there. {advice}")
    return checkpoint


def save_pending(folder: Path, batch: Batch) -> None:
    """Write the batch of the next step, which was sampled with weights that are gone.

    Every number is exact. A problem's ``meta`` is left out: it is for rewards, and the batch is scored.
    """
    meta = {"problem": {"meta"}}
    fields = _BATCH.dump_python(batch, exclude={"groups": {"__all__": meta}, "unused": {"__all__": {"group": meta}}})
    (folder / PENDING_FILE).write_text(json.dumps(fields), encoding="utf-8")


def load_pending(folder: Path) -> Batch:
    """Read the batch of the next step.

    Raises:
        RunError: the checkpoint lacks it, or it is not one.
    """
    return _loaded(_required(folder, PENDING_FILE, "the batch that was sampled ahead"), _BATCH)


def save_buffer(folder: Path, state: BufferState) -> None:
    """Write what was sampled several steps ahead, every number exact and without ``meta``, as :func:`save_pending`."""
    fields = _BUFFER.dump_python(state, exclude={"finished": {"__all__": {"group": {"problem": {"meta"}}}}})
    (folder / BUFFER_FILE).write_text(json.dumps(fields), encoding="utf-8")


def load_buffer(folder: Path) -> BufferState:
    """Read what was sampled several steps ahead.

    Raises:
        RunError: the checkpoint lacks it, or it is not that.
    """
    return _loaded(_required(folder, BUFFER_FILE, "the groups that were sampled ahead"), _BUFFER)


def save_order(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the state of an order of problems that learns from the steps. Any: JSON values."""
    (folder / ORDER_FILE).write_text(json.dumps(state), encoding="utf-8")


def load_order(folder: Path) -> Mapping[str, Any]:
    """Read the state of an order of problems. Any: JSON values.

    Raises:
        RunError: the checkpoint lacks it.
    """
    path = _required(folder, ORDER_FILE, "what the curriculum has seen")
    state: Mapping[str, Any] = json.loads(path.read_bytes())
    return state


def _required(folder: Path, name: str, what: str) -> Path:
    """Return a file of a checkpoint without which training would not go on as it was."""
    if not (folder / name).is_file():
        raise RunError(
            f"{folder}: lacks {name}, {what}. Without it training cannot go on as it was: resume from another "
            "checkpoint by removing this folder, or fork one: reasonrl train --fork"
        )
    return folder / name


def _loaded(path: Path, kind: TypeAdapter[Loaded]) -> Loaded:
    try:
        return kind.validate_python(json.loads(path.read_bytes()))
    except ValidationError as error:
        raise RunError(f"{path}: {error.errors()[0]['msg']}. Another version of reasonrl wrote it: use that.") from None


def _part(path: Path) -> Part:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            checksum = zlib.crc32(block, checksum)
    return Part(bytes=path.stat().st_size, crc32=checksum)
