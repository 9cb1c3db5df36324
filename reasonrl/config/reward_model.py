"""Everything that decides the training of a reward model, as one strict model (``reasonrl rm train``)."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from reasonrl.config.alarms import AlarmAction, UpdateAlarmSettings
from reasonrl.config.settings import (
    LARGEST_SEED,
    EpochRunSettings,
    ModelSettings,
    OptimizerSettings,
    PluginRef,
    PluginSettings,
    RewardRef,
    Settings,
)

TooLong: TypeAlias = Literal["drop", "cut_prompt"]
"""What becomes of a text longer than the limit: it is left out, or its prompt loses its first tokens."""


class SampledPairs(Settings):
    """Pairs that are sampled from a policy and labeled by a reward, when the training begins."""

    model: str
    """The policy: ``tiny``, a name from ``reasonrl models list``, a local folder, or a Hugging Face model name."""
    task: PluginRef
    """Where its problems come from; the training split is used."""
    template: str = "chat"
    """Prompt template that it samples with."""
    gold: RewardRef
    """Reward that says which of two completions is better."""
    num_problems: int = Field(1000, ge=2)
    """Problems that completions are sampled for."""
    samples_per_prompt: int = Field(6, ge=2)
    """Completions of each problem."""
    pairs_per_prompt: int = Field(5, ge=1)
    """Most pairs of one problem."""
    max_new_tokens: int = Field(256, ge=1)
    """Longest completion."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature."""
    flip: float = Field(0.0, ge=0, lt=0.5)
    """Share of labels that are turned round, for experiments with noise."""


_FOR_PATH: Final[Mapping[str, object]] = {"split": "train", "name": None, "columns": {}}
"""Settings that are for data from a path, with what they are if nothing is said."""


class PreferenceDataSettings(Settings):
    """What a reward model learns from."""

    path: str | None = None
    """A file (``.jsonl``, ``.json``, ``.parquet``), a folder saved by ``datasets``, or a data set of the hub. Rows have
    TRL's preference schema: ``chosen`` and ``rejected``, with or without ``prompt``, as strings or messages, and
    perhaps ``margin``; or ``prompt`` and ``completions`` with ``scores`` or ``ranks``; for an outcome model ``prompt``,
    ``completion`` and ``label``."""
    split: str = "train"
    """Split of a data set of the hub or of a saved folder."""
    name: str | None = None
    """Configuration of a data set of the hub."""
    columns: dict[str, str] = Field({})
    """Columns under other names, from the schema's to the file's: ``{chosen: better, rejected: worse}``."""
    sampled: SampledPairs | None = None
    """Sample and label the pairs, in place of ``path``."""
    heldout_share: float = Field(0.1, gt=0, lt=1)
    """Share of the *prompts* that is kept for the evaluation: no prompt is on both sides."""
    max_length: int = Field(1024, ge=8)
    """Most tokens of prompt, completion and end-of-sequence token together."""
    too_long: TooLong = "drop"
    """What becomes of a longer text, in training and as a reward: ``drop`` leaves the pair out (counted) and gives no
    score, ``cut_prompt`` removes the first tokens of the prompt."""

    @model_validator(mode="after")
    def _require_one_source(self) -> Self:
        if (self.path is None) == (self.sampled is None):
            raise ValueError("give either path (a file or a data set) or sampled (pairs made from a policy)")
        ignored = [name for name, usual in _FOR_PATH.items() if getattr(self, name) != usual]
        if self.sampled is not None and ignored:
            raise ValueError(f"{ignored[0]} is set, but the pairs are sampled: it is for data from path")
        return self


class ObjectiveSettings(Settings):
    """What the objectives have in common."""

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_name(cls, given: object) -> object:
        """Let ``objective: outcome`` stand for ``objective: {kind: outcome}``."""
        return {"kind": given} if isinstance(given, str) else given


class BradleyTerrySettings(ObjectiveSettings):
    """Pairs: ``-log sigmoid(score of chosen - score of rejected - margin)``."""

    kind: Literal["bradley_terry"] = "bradley_terry"
    """Learns from pairs of completions."""
    margin: bool = True
    """Take the column ``margin`` off the difference, where the data has one (Llama 2, arXiv:2307.09288)."""
    centering: float = Field(0.0, ge=0)
    """Weight of ``(score of chosen + score of rejected)^2``, which keeps scores around 0 (arXiv:2312.09244); 0.01 is
    usual."""
    by_prompt: bool = True
    """Put all pairs of a prompt into one update and weigh prompts alike, whatever their number of pairs (InstructGPT,
    arXiv:2203.02155, section 3.5)."""


class OutcomeSettings(ObjectiveSettings):
    """Single completions: cross-entropy of the label, 0 to 1, under the sigmoid of the score (arXiv:2110.14168)."""

    kind: Literal["outcome"] = "outcome"
    """Learns from completions with a label from 0 to 1."""


def _kind_of_objective(given: object) -> str:
    """Tell the objectives apart; the names have a space, so that no key can be confused with them."""
    kind = given.get("kind", "bradley_terry") if isinstance(given, Mapping) else getattr(given, "kind", given)
    return f"objective {kind}"


Objective: TypeAlias = Annotated[
    Annotated[BradleyTerrySettings, Tag("objective bradley_terry")]
    | Annotated[OutcomeSettings, Tag("objective outcome")],
    Discriminator(_kind_of_objective),
]
"""What is minimized, told apart by ``kind``."""


class EnsembleSettings(Settings):
    """Several heads on one backbone, each trained on a sample of the prompts of its own."""

    num_heads: int = Field(1, ge=1)
    """Heads; what a reward makes of their scores is its parameter ``aggregate``."""
    bootstrap: bool = True
    """Give each head a sample of the prompts, drawn with replacement; without it heads differ in their start only."""

    @model_validator(mode="after")
    def _refuse_ignored(self) -> Self:
        if self.num_heads == 1 and not self.bootstrap:
            raise ValueError("bootstrap is false, but there is one head, which learns from all prompts: set num_heads")
        return self


class RewardModelEvaluationSettings(Settings):
    """Measurement on held-out prompts."""

    every: int = Field(50, ge=1)
    """Steps between measurements, beside those before the first step and after the last."""


class RewardModelAlarmSettings(UpdateAlarmSettings):
    """What is watched, and what each alarm does: ``off``, ``warn``, ``stop`` or ``rollback``."""

    no_learning: AlarmAction = "warn"
    """Five steps in a row are without effect: the learning rate or the gradient is 0, or an update moves the weights by
    less than ``min_update`` of their size."""
    heldout_fall: AlarmAction = "warn"
    """The held-out accuracy is ``heldout_margin`` below its best, although the training accuracy has risen since."""
    heldout_margin: float = Field(0.05, ge=0)
    """Largest healthy fall of the held-out accuracy below its best."""
    min_update: float = Field(1e-7, ge=0)
    """Smallest healthy change of the weights in an update, as a share of their size (``rm/update``)."""


class RewardModelConfig(Settings):
    """Everything that decides the training of a reward model."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the run directory under ``run.root``."""
    description: str = ""
    """A sentence for ``reasonrl configs list``."""
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    """Seed of the order of the data, the heads' start and their samples of the prompts; the split has none."""
    model: ModelSettings
    """The backbone: a causal language model, or a sequence classifier to continue from."""
    data: PreferenceDataSettings
    """What it learns from."""
    template: str = "chat"
    """Prompt template of the reward model; it is stored with the model and used in the loop."""
    objective: Objective = BradleyTerrySettings()
    """What is minimized: by its ``kind``, ``bradley_terry`` or ``outcome``."""
    ensemble: EnsembleSettings = EnsembleSettings()
    """Heads of the model."""
    pairs_per_step: int = Field(32, ge=1)
    """Pairs, or labeled completions, in one optimizer step."""
    learner: OptimizerSettings = OptimizerSettings(learning_rate=1e-5, warmup_steps=0)
    """How the weights are updated."""
    head_rate_factor: float = Field(1.0, gt=0)
    """The heads, which start from nothing, learn at this multiple of the learning rate."""
    evaluation: RewardModelEvaluationSettings = RewardModelEvaluationSettings()
    """Measurement on held-out prompts."""
    alarms: RewardModelAlarmSettings = RewardModelAlarmSettings()
    """Alarms during the training and what they do."""
    observers: list[PluginRef] = Field([])
    """Functions that are told of all that happens in the run."""
    plugins: PluginSettings = PluginSettings()
    """How other people's code is called."""
    run: EpochRunSettings = EpochRunSettings()
    """Length and files of the run."""

    @model_validator(mode="after")
    def _refuse_rounded_weights(self) -> Self:
        """Refuse weights in bfloat16: a reward model's scores are told apart by less than their rounding."""
        if self.model.weights_dtype != "float32":
            raise ValueError("model.weights_dtype: a reward model learns in float32: leave it out")
        return self

    @model_validator(mode="after")
    def _refuse_ignored(self) -> Self:
        if self.model.allow_other_template:
            raise ValueError(
                "model.allow_other_template would be ignored: a reward model has a template of its own whatever its "
                "backbone was trained with. Leave it out"
            )
        return self

    @model_validator(mode="after")
    def _refuse_endless_warmup(self) -> Self:
        """Refuse a warm-up that the run does not outlast."""
        warmup, steps = self.learner.warmup_steps, self.run.steps
        if steps is not None and warmup >= steps:
            raise ValueError(f"learner.warmup_steps is {warmup}, but the run has only {steps} steps")
        return self
