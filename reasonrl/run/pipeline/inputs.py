"""What decides a stage, and what stands for the thing that a stage has made: digests of contents, never of dates."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from reasonrl.config.pipeline import Reference
from reasonrl.config.stages import Pipeline, Stage
from reasonrl.models.folder import ADAPTER_CONFIG, CONFIG
from reasonrl.models.identity import weights_identity
from reasonrl.run.files.directory import MODEL, RunDirectory
from reasonrl.run.pipeline.state import StageInputs
from reasonrl.run.recorded import flat_settings

DECIDE_NOTHING: Final = ("description",)
"""Settings that change nothing that a run makes."""
DATA: Final = ("path", "data", "data_files", "folder")
"""Last keys of settings and parameters that may name a folder of data."""
MAX_PATH: Final = 1024
"""Longest text that may be a path."""


def stage_inputs(pipeline: Pipeline, stage: Stage) -> StageInputs:
    """Return everything that decides what a stage makes; the stages that it refers to are complete.

    Raises:
        RunError: a run has no such checkpoint.
    """
    settings = _settings(pipeline, stage)
    made = {reference.text: made_by(pipeline.stage(reference.stage), reference) for reference in stage.references}
    return StageInputs(kind=stage.kind, settings=settings, made=made, files=dict(_files(settings, pipeline.folder)))


def made_by(stage: Stage, reference: Reference) -> str:
    """Return what stands for what a stage has made: a digest of weights, or of rows.

    Raises:
        RunError: the run has no such checkpoint.
    """
    if stage.sampling is not None:
        return _digest(Path(stage.output(reference)))
    return weights_identity(model_folder(stage, reference.step))


def model_folder(stage: Stage, step: int | None = None) -> Path:
    """Return the folder of the model that a stage has made.

    Raises:
        RunError: the run has no such checkpoint.
    """
    if stage.trains is None:
        return stage.folder
    if stage.trains == "reward_model" and step is None:
        return stage.folder / MODEL
    return RunDirectory.open(stage.folder).checkpoint_at("" if step is None else str(step))[1]


def _settings(pipeline: Pipeline, stage: Stage) -> dict[str, Any]:
    """Return the settings of a stage by dotted key, every default filled in. Any: JSON values."""
    if stage.kind == "export":
        return dict(stage.settings)
    flat = flat_settings(stage.config(pipeline.outputs()))
    found = {key: value for key, value in flat.items() if key not in DECIDE_NOTHING}
    if stage.sampling is not None:
        kept = stage.sampling.model_dump(mode="json", exclude={"run", "settings"})
        found |= {f"sample.{key}": value for key, value in kept.items()}
    return found


def _files(settings: Mapping[str, Any], own: Path) -> Iterator[tuple[str, str]]:
    """Yield local files, models and data that settings name, with their digests, but for what the pipeline makes."""
    named = {text: key for key, value in settings.items() for text in _texts(value)}
    for text in sorted(named):
        for name in dict.fromkeys((text, text.rpartition(":")[0])):  # ./rewards.py:function
            path = Path(name).expanduser()
            is_place = 0 < len(name) <= MAX_PATH and not path.resolve().is_relative_to(own.resolve())
            if is_place and (digest := _digest_of(path, is_data=named[text].rpartition(".")[2] in DATA)):
                yield name, digest


def _digest_of(path: Path, *, is_data: bool) -> str:
    """Return what stands for a file, a model's folder, a run's model or a folder of data; empty for anything else."""
    if path.is_file():
        return _digest(path)
    if any((path / file).is_file() for file in (CONFIG, ADAPTER_CONFIG)):
        return weights_identity(path)
    if (path / "manifest.json").is_file():
        run = RunDirectory.open(path)
        model = path / MODEL if run.kind.name == "reward_model" else (run.latest_checkpoint() or (0, path))[1]
        return weights_identity(model)
    if not is_data or not path.is_dir():
        return ""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = "\n".join(f"{file.relative_to(path)} {_digest(file)}" for file in files)
    return f"sha256-of-files:{hashlib.sha256(lines.encode()).hexdigest()}"


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a value. Any: JSON values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
