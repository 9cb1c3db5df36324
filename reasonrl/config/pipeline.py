"""Pipeline files: stages that train, sample and export one after the other, each from what earlier ones have made.

``${STAGE}`` in any text of a stage stands for what an earlier stage has made: the model of a run, the rows of a stage
that samples, the folder of an export. ``${STAGE@STEP}`` is the model after that step, ``${STAGE.SCHEMA}`` the rows of a
schema.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from reasonrl.config.base import Settings
from reasonrl.config.evaluation import SuiteRef
from reasonrl.config.kinds import KindName
from reasonrl.config.sampling import VLLMSettings

StageKind: TypeAlias = Literal["train", "rm_train", "sft", "dpo", "kto", "sample", "export"]
"""What a stage does."""
SchemaName: TypeAlias = Literal["samples", "sft", "preference", "kto"]

OF_RUNS: Final[Mapping[StageKind, KindName]] = {
    "train": "policy",
    "rm_train": "reward_model",
    "sft": "sft",
    "dpo": "dpo",
    "kto": "kto",
}
"""Kinds of stages that are runs, with what they train."""
MODELS: Final = ("train", "sft", "dpo", "kto", "export")
"""Kinds of stages that make a model which writes completions."""
KINDS_OF_STAGES: Final[tuple[StageKind, ...]] = (*OF_RUNS, "sample", "export")

NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_-]*"
REFERENCE: Final = re.compile(r"\$\{([^}]*)\}")
_INSIDE: Final = re.compile(rf"({NAME})(?:@(\d+)|\.([a-z]+))?")

RunSettings: TypeAlias = str | dict[str, Any]
"""A recipe's name, the path of a run file, or settings as a run file holds them. Any: its values."""


class SampleStage(Settings):
    """Sample a policy and keep what is to be learned from, as ``reasonrl sample`` does."""

    run: RunSettings
    """The run whose policy is sampled: a recipe's name, the path of a run file, or settings."""
    settings: dict[str, Any] = Field({})
    """Replace settings of that run file. Any: values of a run file."""
    schemas: list[SchemaName] = Field(["sft"], min_length=1)
    """A file of rows is written for each; the completions are sampled once."""
    keep: Literal["best", "right", "all"] | None = None
    """What is kept of each problem; null is what is usual for the schema."""
    per_problem: int | None = Field(None, ge=1)
    """Most rows of a problem."""
    label: str = "score"
    """What says which is better: ``score``, or the label of one of the run's rewards."""
    threshold: float | None = None
    """From this label on a completion is right; null is 1, or what the rewards can add up to."""
    truncated: bool = False
    """Keep completions that the token limit has cut as good ones too."""
    split: Literal["train", "heldout"] = "train"
    """Which problems of the task."""
    num_problems: int | None = Field(None, ge=1)
    """Problems to sample; null takes all."""
    num_samples: int | None = Field(None, ge=1)
    """Completions of each problem; null is the run's ``samples_per_prompt``."""
    engine: str | None = None
    """What samples: an engine's name, or the address of an endpoint; null is the run's."""

    @model_validator(mode="after")
    def _check_samples(self) -> Self:
        """Refuse to keep a part of what are all completions."""
        if "samples" in self.schemas and (self.keep not in (None, "all") or self.per_problem is not None):
            raise ValueError("schemas has samples, which are all completions: leave keep and per_problem out")
        return self


class ExportStage(Settings):
    """Export a model, as ``reasonrl export`` does."""

    model: str
    """What to export: ``${STAGE}``, or a run's directory or RUN@STEP."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Type of the weights."""


class StageSettings(Settings):
    """One stage: its name and one kind of stage, with the run file that it follows or its settings."""

    name: str = Field(pattern=f"^{NAME}$")
    """Names the stage's folder, and what it has made: ``${NAME}``."""
    train: RunSettings | None = None
    """RL, as ``reasonrl train``: a recipe's name, the path of a run file, or settings."""
    rm_train: RunSettings | None = None
    """A reward model, as ``reasonrl rm train``."""
    sft: RunSettings | None = None
    """Supervised fine-tuning, as ``reasonrl sft``."""
    dpo: RunSettings | None = None
    """Direct preference optimization, as ``reasonrl dpo``."""
    kto: RunSettings | None = None
    """Kahneman-Tversky optimization, as ``reasonrl kto``."""
    sample: SampleStage | None = None
    """Rows to learn from, as ``reasonrl sample``."""
    export: ExportStage | None = None
    """A folder with the model, as ``reasonrl export``."""
    settings: dict[str, Any] = Field({})
    """Replace settings of the recipe or run file that a run follows. Any: values of a run file."""
    processes: int | None = Field(None, ge=1)
    """Processes that learn together, of ``train``."""

    @property
    def kind(self) -> StageKind:
        """What the stage does."""
        return next(kind for kind in KINDS_OF_STAGES if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        given = [kind for kind in KINDS_OF_STAGES if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"a stage has one of {', '.join(KINDS_OF_STAGES)}; {self.name!r} has {found}")
        if self.settings and isinstance(getattr(self, given[0]), dict | Settings):
            where = f"{given[0]}.settings" if given[0] == "sample" else given[0]
            raise ValueError(f"settings replace those of a recipe or a run file: write these under {where}")
        if self.processes is not None and given[0] != "train":
            raise ValueError(f"processes is set, but {given[0]} runs in one: leave it out")
        return self


class PipelineEvaluationSettings(Settings):
    """What every model of the pipeline is measured on at the end."""

    suites: list[SuiteRef] = Field([])
    """Held-out suites."""
    engine: str = "local"
    """What samples: ``local``, ``vllm``, ``vllm_server``, or an installed engine."""
    vllm: VLLMSettings = VLLMSettings()
    """How vLLM is run, where ``engine`` is it."""


class PipelineRunSettings(Settings):
    """What a pipeline leaves on disk."""

    root: str = "runs"
    """Folder that holds the pipeline's folder; its stages are run directories there."""


class PipelineConfig(Settings):
    """A pipeline file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the pipeline's folder under ``run.root``."""
    description: str = ""
    """A sentence for ``reasonrl configs list``."""
    stages: list[StageSettings] = Field(min_length=1)
    """What is done, in this order."""
    evaluation: PipelineEvaluationSettings = PipelineEvaluationSettings()
    """Held-out measurement of the base model and of the model of every stage."""
    run: PipelineRunSettings = PipelineRunSettings()
    """Where it goes."""

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        """Refuse two stages of one name, and texts that stand for nothing that an earlier stage makes."""
        earlier: dict[str, StageSettings] = {}
        for index, stage in enumerate(self.stages):
            if stage.name in earlier:
                raise ValueError(f"stages.{index}: two stages are called {stage.name!r}")
            for reference in references_in(stage.model_dump(exclude_none=True)):
                reference.check(earlier, f"stages.{index} ({stage.name})")
            earlier[stage.name] = stage
        return self


@dataclass(frozen=True, slots=True)
class Reference:
    """What ``${...}`` stands for."""

    text: str
    """As it is written."""
    stage: str
    step: int | None = None
    schema: str | None = None

    @classmethod
    def parse(cls, inside: str) -> Self:
        """Read what stands between the braces.

        Raises:
            ValueError: it has no such form.
        """
        text = f"${{{inside}}}"
        if (match := _INSIDE.fullmatch(inside)) is None:
            raise ValueError(f"{text}: write ${{STAGE}}, ${{STAGE@STEP}} or ${{STAGE.SCHEMA}}")
        return cls(text, match[1], None if match[2] is None else int(match[2]), match[3])

    def check(self, earlier: Mapping[str, StageSettings], where: str) -> None:
        """Refuse what no earlier stage makes.

        Raises:
            ValueError: it does not.
        """
        if self.stage not in earlier:
            known = ", ".join(earlier) or "none"
            raise ValueError(f"{where}: {self.text}: there is no earlier stage {self.stage!r}; earlier are: {known}")
        of = earlier[self.stage]
        if self.step is not None and of.kind not in OF_RUNS:
            raise ValueError(f"{where}: {self.text}: {self.stage} is no run, so that it has no steps")
        if of.sample is None:
            if self.schema is not None:
                raise ValueError(f"{where}: {self.text}: {self.stage} samples nothing, so that it has no rows")
        elif self.schema is None and len(of.sample.schemas) > 1:
            named = ", ".join(f"${{{self.stage}.{schema}}}" for schema in of.sample.schemas)
            raise ValueError(f"{where}: {self.text}: {self.stage} has rows of several schemas, write one of: {named}")
        elif self.schema not in (None, "samples", *of.sample.schemas):
            raise ValueError(f"{where}: {self.text}: {self.stage} has rows of: {', '.join(of.sample.schemas)}, samples")


def references_in(value: Any) -> Iterator[Reference]:
    """Yield what the texts of settings refer to, as often as they do. Any: settings.

    Raises:
        ValueError: one is written wrongly.
    """
    if isinstance(value, str):
        yield from map(Reference.parse, REFERENCE.findall(value))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references_in(inner)


def filled_in(value: Any, outputs: Mapping[str, str]) -> Any:
    """Return settings with what their references stand for. Any: settings.

    Args:
        value: settings.
        outputs: places by the text of a reference.
    """
    if isinstance(value, str):
        return REFERENCE.sub(lambda match: outputs[match[0]], value)
    if isinstance(value, Mapping):
        return {name: filled_in(inner, outputs) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [filled_in(inner, outputs) for inner in value]
    return value


def is_pipeline(settings: Mapping[str, Any]) -> bool:
    """Say whether a file of settings is a pipeline's. Any: as in YAML."""
    return "stages" in settings
