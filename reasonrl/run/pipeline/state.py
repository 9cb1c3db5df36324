"""What a pipeline has begun: ``pipeline.json`` in its folder, by which a stage is kept, gone on with or done again."""

import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from reasonrl.errors import RunError
from reasonrl.system.atomic import write_atomically
from reasonrl.system.disk import disk_errors

FILE: Final = "pipeline.json"
SCHEMA_VERSION: Final = 1


class StageInputs(BaseModel):
    """Everything that decides what a stage makes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    settings: dict[str, Any]
    """By dotted key, every default filled in. Any: JSON values."""
    made: dict[str, str]
    """Digests of what earlier stages have made, by the text that refers to it."""
    files: dict[str, str] = {}
    """Digests of local files and folders that the settings name."""

    def difference(self, other: "StageInputs") -> str:
        """Return the first thing in which other inputs differ from these, in words; empty where nothing does."""
        for what, ours, theirs in (
            ("", {"kind": self.kind, **self.settings}, {"kind": other.kind, **other.settings}),
            ("what stands for ", self.made, other.made),
            ("the content of ", self.files, other.files),
        ):
            for key in sorted(ours.keys() | theirs.keys()):
                if ours.get(key) != theirs.get(key):
                    return (
                        f"{what}{key} changed"
                        if what
                        else f"{key} was {ours.get(key)!r} and is {theirs.get(key)!r} now"
                    )
        return ""


class PipelineState(BaseModel):
    """The stages that were begun, with their inputs at that time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = SCHEMA_VERSION
    stages: dict[str, StageInputs] = {}
    sampled: tuple[str, ...] = ()
    """Stages whose rows are all there; runs and exports say that by themselves."""
    measured: dict[str, str] = {}
    """Digests of what was measured, by stage: the model and the suites."""

    def begun(self, stage: str, inputs: StageInputs) -> "PipelineState":
        """Return the state once a stage is begun with inputs."""
        sampled = tuple(name for name in self.sampled if name != stage)
        return self.model_copy(update={"stages": {**self.stages, stage: inputs}, "sampled": sampled})

    def has_sampled(self, stage: str) -> "PipelineState":
        """Return the state once all rows of a stage are there."""
        return self.model_copy(update={"sampled": tuple(dict.fromkeys((*self.sampled, stage)))})

    def measures(self, stage: str, digest: str) -> "PipelineState":
        """Return the state once a stage's model is being measured."""
        return self.model_copy(update={"measured": {**self.measured, stage: digest}})


def read_state(folder: Path) -> PipelineState:
    """Return the state of a pipeline; that of one that was not begun where there is none.

    Raises:
        RunError: the file is damaged, or another version of reasonrl wrote it.
    """
    path = folder / FILE
    if not path.is_file():
        return PipelineState()
    try:
        return PipelineState.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(
            f"{path}: {where + ': ' if where else ''}{first['msg']}. It was changed by hand, or written by another "
            "version of reasonrl: give the pipeline another name, or remove its folder."
        ) from None


def write_state(folder: Path, state: PipelineState) -> None:
    """Replace the state."""
    with disk_errors(folder, "then give the command again: it goes on where it was."):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / FILE, json.dumps(state.model_dump(mode="json"), indent=2).encode() + b"\n")
