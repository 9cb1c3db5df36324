"""A pipeline as it is read: its file, and the settings of every stage, checked before anything runs."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reasonrl.config.find import find_run
from reasonrl.config.kinds import KINDS, AnyConfig, KindName, recognize
from reasonrl.config.pipeline import (
    OF_RUNS,
    PipelineConfig,
    Reference,
    SampleStage,
    StageKind,
    StageSettings,
    filled_in,
    is_pipeline,
    references_in,
)
from reasonrl.config.runfile import checked_settings, read_settings_file
from reasonrl.errors import ConfigError, and_known

OWN: Final = ("name", "run.root")
"""Settings of a run that the pipeline gives: the stage's name, and its folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage with its settings, in which what earlier stages make is not filled in yet."""

    name: str
    kind: StageKind
    folder: Path
    """Where it leaves what it makes: a run directory, or a folder of rows or of a model."""
    settings: Mapping[str, Any]
    """Those of a run file, or of an export. Any: as in YAML."""
    sampling: SampleStage | None = None
    """What is sampled and kept, of a stage that samples."""
    processes: int | None = None
    file: str = ""
    """Names the settings in messages."""
    places: Mapping[str, str] = field(default_factory=dict)
    """File and line of those that stand in the pipeline's file."""
    overrides: tuple[str, ...] = ()

    @property
    def trains(self) -> KindName | None:
        """What a run of the stage trains; None where it is no run."""
        return OF_RUNS.get(self.kind)

    @property
    def run_file(self) -> Path:
        """Where the run file of the stage is written, what earlier stages make filled in."""
        return self.folder.with_name(f"{self.name}.yaml")

    @property
    def references(self) -> tuple[Reference, ...]:
        """What the stage needs of earlier ones, each once."""
        return tuple(dict.fromkeys(references_in([self.settings, list(self.overrides)])))

    def output(self, reference: Reference) -> str:
        """Return the place of what the stage makes, as a reference to it stands for."""
        if self.sampling is not None:
            return str(self.rows_file(reference.schema or self.sampling.schemas[0]))
        return str(self.folder) if reference.step is None else f"{self.folder}@{reference.step}"

    def rows_file(self, schema: str) -> Path:
        """Return the file of rows of a schema, of a stage that samples."""
        return self.folder / f"{schema}.jsonl"

    def config(self, outputs: Mapping[str, str]) -> AnyConfig:
        """Return the settings of the stage's run, or of the run that it samples.

        Args:
            outputs: places by the text of a reference.

        Raises:
            ConfigError: one line for each mistake in them.
        """
        of = KINDS[self.trains or "policy"].settings
        overrides = [filled_in(text, outputs) for text in self.overrides]
        found: AnyConfig = checked_settings(of, filled_in(self.settings, outputs), overrides, self.file, self.places)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A pipeline and its stages."""

    config: PipelineConfig
    source: str
    """The text of its file."""
    stages: tuple[Stage, ...]

    @property
    def folder(self) -> Path:
        """Where all of it goes."""
        return Path(self.config.run.root) / self.config.name

    def stage(self, name: str) -> Stage:
        """Return a stage by its name."""
        return next(stage for stage in self.stages if stage.name == name)

    def outputs(self) -> dict[str, str]:
        """Return what each reference stands for, whether it is made or not."""
        references = {reference for stage in self.stages for reference in stage.references}
        return {reference.text: self.stage(reference.stage).output(reference) for reference in references}


def is_pipeline_file(path: Path) -> bool:
    """Say whether a file of settings is a pipeline's.

    Raises:
        ConfigError: it cannot be read.
    """
    return is_pipeline(read_settings_file(path)[0])


def load_pipeline(path: Path, overrides: Sequence[str] = ()) -> Pipeline:
    """Read a pipeline file, apply overrides, and check every stage.

    Args:
        path: the file.
        overrides: ``key.path=value`` of the pipeline, or ``STAGE.key.path=value`` of a stage's settings.

    Raises:
        ConfigError: it is no pipeline, or one line for each mistake in it.
        PluginError: there is no such recipe.
    """
    data, lines = read_settings_file(path, "the pipeline file")
    if not is_pipeline(data):
        command = recognize(data).command
        raise ConfigError(f"{path}: has no stages, so that it is no pipeline: use {command} {shlex.quote(str(path))}")
    names = _names(data)
    of_stages = [text for text in overrides if text.partition(".")[0] in names]
    places = {key: f"{path.name}:{line}" for key, line in lines.items()}
    others = [text for text in overrides if text not in of_stages]
    config: PipelineConfig = checked_settings(PipelineConfig, data, others, path.name, places)
    stages = tuple(
        _stage(
            config,
            index,
            [text.partition(".")[2] for text in of_stages if text.partition(".")[0] == stage.name],
            places,
        )
        for index, stage in enumerate(config.stages)
    )
    pipeline = Pipeline(config=config, source=path.read_text(encoding="utf-8"), stages=stages)
    _check(pipeline)
    return pipeline


def _names(data: Mapping[str, Any]) -> set[str]:
    """Return the names of stages in a file that is not checked yet. Any: as in YAML."""
    listed = data["stages"] if isinstance(data["stages"], list) else []
    return {str(stage.get("name")) for stage in listed if isinstance(stage, dict)}


def _stage(config: PipelineConfig, index: int, overrides: Sequence[str], places: Mapping[str, str]) -> Stage:
    """Return a stage with the settings of the recipe or run file that it follows."""
    given, key = config.stages[index], f"stages.{index}"
    folder = Path(config.run.root) / config.name / given.name
    if given.export is not None:
        exported = checked_settings(type(given.export), given.export.model_dump(), overrides, key, {})
        return Stage(name=given.name, kind="export", folder=folder, settings=exported.model_dump())
    sampling, of_run = (None, overrides) if given.sample is None else _sampling(given.sample, overrides, key)
    settings, file, prefix = _run_settings(given, sampling, key)
    return Stage(
        name=given.name,
        kind=given.kind,
        folder=folder,
        settings=_with_place(settings, given.name, folder, has_steps=sampling is None),
        sampling=sampling,
        processes=given.processes,
        file=file,
        places={key.removeprefix(f"{prefix}."): place for key, place in places.items() if key.startswith(f"{prefix}.")},
        overrides=tuple(of_run),
    )


def _run_settings(given: StageSettings, sampling: SampleStage | None, key: str) -> tuple[Mapping[str, Any], str, str]:
    """Return the settings of a stage's run, what names them in messages, and the key of those in the pipeline's file.

    Any: as in YAML.
    """
    value: str | dict[str, Any] = getattr(given, given.kind) if sampling is None else sampling.run
    changes, inside = (given.settings, key) if sampling is None else (sampling.settings, f"{key}.sample")
    if isinstance(value, str):
        _refuse_own(changes, f"{inside}.settings")
        return _merged(_of_file(value, given), changes), value, f"{inside}.settings"
    prefix = f"{inside}.{given.kind if sampling is None else 'run'}"
    _refuse_own(value, prefix)
    return value, prefix, prefix


def _sampling(given: SampleStage, overrides: Sequence[str], key: str) -> tuple[SampleStage, list[str]]:
    """Return what is sampled, with the overrides that name its own settings, and the others, which are of its run."""
    own = [text for text in overrides if text.partition("=")[0].partition(".")[0] in SampleStage.model_fields]
    own = [text for text in own if not text.startswith("run.")]
    found = checked_settings(SampleStage, given.model_dump(exclude_unset=True), own, f"{key}.sample", {})
    return found, [text for text in overrides if text not in own]


def _of_file(name: str, stage: StageSettings) -> dict[str, Any]:
    """Return the settings of a recipe or a run file. Any: as in YAML."""
    kind: KindName = OF_RUNS.get(stage.kind, "policy")
    data, _ = read_settings_file(find_run(name, kind))
    return data


def _refuse_own(settings: Mapping[str, Any], where: str) -> None:
    """Refuse what the pipeline decides. Any: as in YAML."""
    run = settings.get("run")
    if "name" in settings or (isinstance(run, dict) and "root" in run):
        found = OWN[0] if "name" in settings else OWN[1]
        raise ConfigError(
            f"{where}.{found}: is the pipeline's: the folder of a stage is called as the stage is. Leave it out."
        )


def _merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with changes: groups are merged, all else is replaced. Any: as in YAML."""
    merged = dict(settings)
    for name, value in changes.items():
        before = merged.get(name)
        if isinstance(before, str) and isinstance(value, dict):  # a bare name stands for a group with it
            before = {"preset" if name == "algorithm" else "name": before}
        merged[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _with_place(settings: Mapping[str, Any], name: str, folder: Path, *, has_steps: bool) -> dict[str, Any]:
    """Return the settings of a run with the stage's name and folder; one that is sampled needs no steps of its own.

    Any: as in YAML.
    """
    run = settings.get("run") or {}
    if not isinstance(run, dict):
        return {**settings, "name": name}
    return {**settings, "name": name, "run": {**({} if has_steps else {"steps": 1}), **run, "root": str(folder.parent)}}


def _check(pipeline: Pipeline) -> None:
    """Refuse mistakes in the settings of every stage, all at once."""
    _require_earlier(pipeline)
    outputs, mistakes = pipeline.outputs(), list[str]()
    for stage in pipeline.stages:
        mistakes += _misused(pipeline, stage)
        try:
            if stage.kind != "export":
                stage.config(outputs)
        except ConfigError as error:
            mistakes += [f"stage {stage.name}: {line}" for line in str(error).split("\n")]
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def _require_earlier(pipeline: Pipeline) -> None:
    """Refuse references that recipes and overrides have brought and that no earlier stage makes."""
    earlier: dict[str, StageSettings] = {}
    for stage, given in zip(pipeline.stages, pipeline.config.stages, strict=True):
        try:
            for reference in stage.references:
                reference.check(earlier, f"stage {stage.name}")
        except ValueError as error:
            raise ConfigError(str(error)) from None
        earlier[given.name] = given


def _misused(pipeline: Pipeline, stage: Stage) -> Iterator[str]:
    """Say which model of a stage is none."""
    model = stage.settings.get("model")
    name = model.get("name") if isinstance(model, dict) else model
    for reference in references_in(name):
        of = pipeline.stage(reference.stage)
        if of.kind == "sample" or (of.kind == "rm_train" and stage.kind != "rm_train"):
            made = "rows" if of.kind == "sample" else "a reward model"
            models = [each.name for each in pipeline.stages if each.kind not in ("sample", "rm_train")]
            known = and_known(reference.stage, models)
            yield f"stage {stage.name}: model: {reference.text} is {made}, no model to go on with.{known}"
