"""Everything that decides a run of SFT, DPO or KTO, as strict models (``reasonrl sft``, ``dpo``, ``kto``).

TRL's trainers do the training; these are the settings of theirs that decide what is learned, in our words.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from reasonrl.config.alarms import UpdateAlarmSettings
from reasonrl.config.base import require_installed
from reasonrl.config.settings import (
    LARGEST_SEED,
    AdamWSettings,
    EpochRunSettings,
    ModelSettings,
    PluginRef,
    PluginSettings,
    Settings,
    SuiteRef,
    VLLMSettings,
)


class RowSource(Settings):
    """Rows of a file, a folder or a data set of the hub."""

    path: str | None = None
    """A file (``.jsonl``, ``.json``, ``.parquet``), a folder saved by ``datasets``, or a data set of the hub."""
    split: str = "train"
    """Split of a data set of the hub or of a saved folder."""
    name: str | None = None
    """Configuration of a data set of the hub."""
    columns: dict[str, str] = Field({})
    """Columns under other names, from the schema's to the file's: ``{completion: answer}``."""


class FinetuneDataSettings(RowSource):
    """What a run learns from. Rows have TRL's schema; those of ``reasonrl sample`` have a column ``template`` and
    prompts that are rendered already, others have questions, which the run's template renders."""

    max_length: int = Field(1024, ge=8)
    """Most tokens of a row, prompt and completion together. Longer rows are left out and counted: a completion that is
    cut would be learned as if it ended there."""

    @model_validator(mode="after")
    def _require_path(self) -> Self:
        if self.path is None and type(self) is FinetuneDataSettings:
            raise ValueError("path: this setting is required: a file or a data set")
        return self


class NegativeSettings(RowSource):
    """Bad answers, learned under a system prompt that asks for them, so that the model learns to tell them apart
    without giving them where nobody asks (conditioned training)."""

    system: str
    """System prompt that asks for a bad answer. In a template that is no chat it stands before the prompt."""
    max_share: float = Field(0.5, gt=0, lt=1)
    """Most that they may be of all rows; of more, some are left out, chosen by a hash of each."""

    @model_validator(mode="after")
    def _require_path(self) -> Self:
        if self.path is None:
            raise ValueError("path: this setting is required: a file or a data set with bad answers")
        return self


class SFTDataSettings(FinetuneDataSettings):
    """What SFT learns from: rows of a file or a data set, or problems of a task that carry a worked solution."""

    task: PluginRef | None = None
    """Learn the worked solutions of a task's training problems, in place of ``path``."""
    completion: str = "{{ solution }}"
    """Jinja text that makes the completion of a task's problem, over ``problem``, ``answer`` and ``solution``: what
    its data hold under ``solution``, ``worked_solution`` or ``rationale``, or the whole column that the answer was cut
    out of."""
    negatives: NegativeSettings | None = None
    """Bad answers to learn beside, under a system prompt that asks for them."""

    @model_validator(mode="after")
    def _require_one_source(self) -> Self:
        if (self.path is None) == (self.task is None):
            raise ValueError("give either path (a file or a data set) or task (problems with worked solutions)")
        if self.task is None and self.completion != type(self).model_fields["completion"].default:
            raise ValueError("completion is set, but there is no task, whose problems it completes: leave it out")
        ignored = [name for name in ("split", "name", "columns") if getattr(self, name) != _usual(name)]
        if self.task is not None and ignored:
            raise ValueError(f"{ignored[0]} is set, but the rows are those of a task: it is for data from path")
        return self


def _usual(name: str) -> object:
    field = RowSource.model_fields[name]
    return field.get_default()


class SFTSettings(Settings):
    """Supervised fine-tuning: the cross-entropy of the assistant's tokens, the mean over those of a step."""

    loss: Literal["nll", "dft"] = "nll"
    """``nll`` is cross-entropy; ``dft`` weighs each token by its own probability (arXiv:2508.05629)."""
    packing: bool = False
    """Fill sequences of ``data.max_length`` tokens with several rows, which do not see one another (TRL's best-fit
    decreasing). A row of ``rows_per_step`` is then such a sequence."""


class DPOSettings(Settings):
    """Direct preference optimization (arXiv:2305.18290) against the model that the run begins with."""

    beta: float = Field(0.1, gt=0)
    """How much a divergence from the initial model costs; smaller lets it move further."""
    loss: Literal["sigmoid", "hinge", "ipo", "robust", "sigmoid_norm", "apo_zero", "apo_down"] = "sigmoid"
    """What is minimized, as TRL calls it: ``sigmoid`` is DPO, ``ipo`` arXiv:2310.12036, ``hinge`` SLiC, ``robust``
    arXiv:2403.00409, ``sigmoid_norm`` divides by lengths, ``apo_*`` arXiv:2408.06266."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of pairs that are taken to be labeled the wrong way round, with ``sigmoid`` and ``robust``."""
    sft_weight: float = Field(0.0, ge=0)
    """Weight of the chosen completions' cross-entropy beside it, as in RPO (arXiv:2404.19733)."""

    @model_validator(mode="after")
    def _refuse_ignored(self) -> Self:
        if self.label_smoothing and self.loss not in ("sigmoid", "robust"):
            raise ValueError(f"label_smoothing is set, but loss {self.loss} does not use it: leave one of them out")
        return self


class KTOSettings(Settings):
    """Kahneman-Tversky optimization (arXiv:2402.01306): single completions that are good or bad."""

    beta: float = Field(0.1, gt=0)
    """How much a divergence from the initial model costs; smaller lets it move further."""
    loss: Literal["kto", "apo_zero_unpaired"] = "kto"
    """What is minimized, as TRL calls it; ``apo_zero_unpaired`` (arXiv:2408.06266) estimates no divergence."""
    desirable_weight: float = Field(1.0, gt=0)
    """Weight of good completions, where there are fewer of them."""
    undesirable_weight: float = Field(1.0, gt=0)
    """Weight of bad completions."""


class FinetuneLearnerSettings(AdamWSettings):
    """How the weights are updated."""

    microbatch_rows: int = Field(8, ge=1)
    """Most rows in one forward pass; what is used is the greatest number up to it that divides ``rows_per_step``."""


class FinetuneEvaluationSettings(Settings):
    """Held-out measurement during a run."""

    suites: list[SuiteRef] = Field([])
    """Held-out suites, measured before the first step, every ``every`` steps and at the end."""
    every: int = Field(50, ge=1)
    """Steps between evaluations."""
    engine: Annotated[PluginRef, require_installed("engines")] = PluginRef(name="local")
    """What samples: ``local`` is the model that learns, itself; ``vllm`` and ``vllm_server`` get its weights before
    each evaluation."""
    allow_overlap: str = ""
    """Why problems may stand in both training and held-out data; empty refuses such a run."""
    max_concurrent: int | None = Field(None, ge=1)
    """Completions sampled side by side; changes speed and memory only. Null is 64 with the embedded engine and 256 with
    others."""


class FinetuneConfig(Settings):
    """What runs of SFT, DPO and KTO have in common."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the run directory under ``run.root``."""
    description: str = ""
    """A sentence for ``reasonrl configs list``."""
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    """Seed of the order of the rows."""
    model: ModelSettings
    """Which model learns."""
    data: FinetuneDataSettings
    """What it learns from."""
    template: str = "chat"
    """Prompt template: that of the runs, evaluations and samples before and after; another one is refused."""
    rows_per_step: int = Field(32, ge=1)
    """Rows in one optimizer step: conversations, pairs, or single completions."""
    learner: FinetuneLearnerSettings
    """How the weights are updated."""
    evaluation: FinetuneEvaluationSettings = FinetuneEvaluationSettings()
    """Held-out measurement."""
    vllm: VLLMSettings = VLLMSettings()
    """How vLLM is run, where ``evaluation.engine`` is one of its engines."""
    alarms: UpdateAlarmSettings = UpdateAlarmSettings()
    """Alarms during the run and what they do."""
    observers: list[Annotated[PluginRef, require_installed("observers")]] = Field([])
    """Functions that are told of all that happens in the run."""
    plugins: PluginSettings = PluginSettings()
    """How other people's code is called."""
    run: EpochRunSettings = EpochRunSettings()
    """Length and files of the run."""

    @property
    def microbatch_rows(self) -> int:
        """Rows in one forward pass: the greatest number up to the limit that divides those of a step."""
        most = min(self.learner.microbatch_rows, self.rows_per_step)
        return next(rows for rows in range(most, 0, -1) if self.rows_per_step % rows == 0)

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_methods(cls, given: Any) -> Any:
        """Name what TRL has no stable trainer for. Any: as in YAML."""
        if isinstance(given, dict) and "orpo" in given:
            raise ValueError(
                "orpo: TRL has its trainer in trl.experimental alone, which promises nothing: use dpo with "
                "dpo.sft_weight: 1, or kto"
            )
        return given

    @model_validator(mode="after")
    def _check_learner(self) -> Self:
        """Refuse weights that TRL's trainers do not round as they need it, and a warm-up that never ends."""
        if self.model.weights_dtype != "float32":
            raise ValueError("model.weights_dtype: TRL's optimizers need weights in float32: leave it out")
        warmup, steps = self.learner.warmup_steps, self.run.steps
        if steps is not None and warmup >= steps:
            raise ValueError(f"learner.warmup_steps is {warmup}, but the run has only {steps} steps")
        return self


class SFTRunConfig(FinetuneConfig):
    """Everything that decides a run of supervised fine-tuning."""

    data: SFTDataSettings
    """What it learns from."""
    sft: SFTSettings = SFTSettings()
    """What is minimized. A run file with this section trains by SFT."""
    learner: FinetuneLearnerSettings = FinetuneLearnerSettings(learning_rate=2e-5)
    """How the weights are updated."""


class DPORunConfig(FinetuneConfig):
    """Everything that decides a run of direct preference optimization."""

    dpo: DPOSettings = DPOSettings()
    """What is minimized. A run file with this section trains by DPO."""
    learner: FinetuneLearnerSettings = FinetuneLearnerSettings(learning_rate=1e-6)
    """How the weights are updated."""


class KTORunConfig(FinetuneConfig):
    """Everything that decides a run of Kahneman-Tversky optimization."""

    kto: KTOSettings = KTOSettings()
    """What is minimized. A run file with this section trains by KTO."""
    learner: FinetuneLearnerSettings = FinetuneLearnerSettings(learning_rate=1e-6)
    """How the weights are updated."""

    @model_validator(mode="after")
    def _require_others(self) -> Self:
        """The divergence is estimated on completions of the other prompts of a forward pass."""
        if self.kto.loss == "kto" and self.microbatch_rows < 2:
            raise ValueError(
                "kto estimates the divergence on other rows of the same forward pass, which here has one row: give "
                "rows_per_step and learner.microbatch_rows of 2 or more, whose greatest common part is not 1"
            )
        return self
