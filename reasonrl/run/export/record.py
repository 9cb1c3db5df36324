"""What an exported model says of itself beside its weights: ``reasonrl.json``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from reasonrl.config.kinds import KindName
from reasonrl.errors import ModelError
from reasonrl.preference.card import TemplateCard
from reasonrl.system.atomic import write_atomically

RECORD: Final = "reasonrl.json"


class RecordPart(BaseModel):
    """A frozen part of the record that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Stage(RecordPart):
    """One run on the way from the base model to this one."""

    run: str
    """Name of the run."""
    run_id: str
    """As its manifest has it."""
    kind: KindName
    step: int
    """Steps after which the next stage took its model."""
    model: str
    """The model that the run began with: run and step of the stage before it, or what its run file names."""
    template: str
    """Names of its prompt templates."""
    method: str
    """How it learned, in a few words."""
    data: str
    """What it learned from."""


class ExportRecord(RecordPart):
    """Where an exported model comes from, and how it is to be asked."""

    schema_version: Literal[1] = 1
    run: str
    """Name of the run."""
    step: int
    """Steps of the run after which these weights stand."""
    dtype: str
    """Type of the weights in the folder."""
    templates: tuple[TemplateCard, ...]
    """The prompt templates that the model was trained with; several for a mixture."""
    base_model: str
    """The model that the first stage began with."""
    stages: tuple[Stage, ...]
    """The runs that made the model, the earliest first."""
    versions: Mapping[str, str]
    """Packages that the folder was written with."""


def write_record(folder: Path, record: ExportRecord) -> None:
    """Put the record beside the weights."""
    write_atomically(folder / RECORD, record.model_dump_json(indent=2).encode() + b"\n")


def read_record(folder: Path) -> ExportRecord | None:
    """Read the record of an exported model's folder; None for any other folder.

    Raises:
        ModelError: it cannot be read, or is of another version.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return ExportRecord.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: {_first_mistake(error)}. The file was changed by hand, or written by another version of "
            "reasonrl: export the model again."
        ) from None


def _first_mistake(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
