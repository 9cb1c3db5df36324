"""Everything that decides a run, as one strict model; :mod:`reasonrl.config.runfile` reads and writes it.

The string under each setting is its documentation: ``reasonrl config explain`` prints it.
"""

import re
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

from reasonrl.config.alarms import AlarmAction, AlarmSettings
from reasonrl.config.algorithm import AlgorithmSettings, MethodSettings
from reasonrl.config.base import PluginRef, Settings, require_installed
from reasonrl.config.curriculum import CurriculumSettings
from reasonrl.config.rewards import (
    RewardRef,
    ScoringSettings,
    Weight,
    WeightSchedule,
    refuse_bad_labels,
    refuse_no_weight,
)
from reasonrl.config.tasks import (
    DifficultySettings,
    MixtureTask,
    RunTask,
    TaskOrMixture,
    TaskRef,
    distinct_rewards,
    refuse_repeated_tasks,
)
from reasonrl.errors import ConfigError
from reasonrl.plugins.boundary import TIMEOUT_S

DEVICES: Final = "auto, cpu, cuda or cuda:N"
LARGEST_SEED: Final = 2**63 - 1
"""What a seed of torch and numpy may be at most."""

__all__ = [
    "LARGEST_SEED",
    "AlarmAction",
    "AlarmSettings",
    "AlgorithmSettings",
    "CriticSettings",
    "CurriculumSettings",
    "DifficultySettings",
    "EvaluationSettings",
    "LearnerSettings",
    "LoraSettings",
    "MethodSettings",
    "MixtureTask",
    "ModelSettings",
    "OptimizerSettings",
    "PluginRef",
    "PluginSettings",
    "PrimaryFigure",
    "RewardRef",
    "RolloutSettings",
    "RunConfig",
    "RunFolderSettings",
    "RunSettings",
    "RunTask",
    "ScoringSettings",
    "Settings",
    "SuiteRef",
    "TaskRef",
    "VLLMSettings",
    "Weight",
    "WeightSchedule",
    "refuse_bad_labels",
    "require_device",
]


class SuiteRef(PluginRef):
    """A held-out suite, and how its completions are sampled where that differs from the suite's own settings."""

    template: str | None = None
    """Prompt template; null is the suite's own, as for all settings below."""
    max_new_tokens: int | None = Field(None, ge=1)
    """Longest completion."""
    num_samples: int | None = Field(None, ge=1)
    """Completions of each problem."""
    temperature: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Draw from the fewest most probable tokens whose probabilities reach this sum; 1 draws from all."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Strings that end a completion."""
    cluster: str | None = None
    """Column whose equal values mark problems that belong together, such as variants of one problem or questions on one
    text: errors are then those of clusters."""

    @model_validator(mode="after")
    def _refuse_equal_samples(self) -> Self:
        """Refuse several samples of one problem that could not differ."""
        if self.temperature == 0 and self.num_samples is not None and self.num_samples > 1:
            raise ValueError(
                f"num_samples is {self.num_samples}, but temperature is 0, so all would be the same: use "
                "num_samples: 1, or a temperature above 0"
            )
        return self


def _listed(given: object) -> object:
    return [given] if isinstance(given, str) else given


class LoraSettings(Settings):
    """The low-rank adapter (LoRA) that learns in place of the model's own weights; without one all of them learn."""

    rank: int = Field(16, ge=1)
    """Inner size of each pair of matrices."""
    alpha: int = Field(32, ge=1)
    """The adapter's product is multiplied by alpha / rank."""
    target_modules: Annotated[list[str], BeforeValidator(_listed)] = Field(["all-linear"], min_length=1)
    """Names of the layers to adapt, such as ``[q_proj, v_proj]``; ``all-linear`` is every one but the output head."""


def require_device(name: str, option: str) -> None:
    """Refuse what names no device, before torch is asked.

    Raises:
        ConfigError: it names none; ``option`` begins the message.
    """
    if not _is_device(name):
        raise ConfigError(f"{option}: {name!r} is not a device; use {DEVICES}.")


def _is_device(name: str) -> bool:
    return re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) is not None


class ModelSettings(Settings):
    """Which model learns."""

    name: str
    """``tiny``, a name from ``reasonrl models list``, a local folder, or a Hugging Face model name."""
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of matrix products; weights stay float32. ``auto`` is bfloat16 on hardware that gains from it."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    device: str = "auto"
    """``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``."""
    lora: LoraSettings | None = None
    """Train a low-rank adapter and leave the model's weights as they are; null trains all weights."""

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_name(cls, given: object) -> object:
        """Let ``model: tiny`` stand for ``model: {name: tiny}``."""
        return {"name": given} if isinstance(given, str) else given

    @field_validator("device")
    @classmethod
    def _refuse_other_devices(cls, given: str) -> str:
        """Refuse what names no device, before torch is asked."""
        if not _is_device(given):
            raise ValueError(f"{given!r} is not a device; use {DEVICES}")
        return given


class RolloutSettings(Settings):
    """How completions are sampled."""

    engine: Annotated[PluginRef, require_installed("engines")] = PluginRef(name="local")
    """What samples: ``local`` is the learner's own module, ``vllm`` is vLLM in this process, ``vllm_server`` is vLLM
    servers over HTTP; another installed engine, by name."""
    prompts_per_step: int = Field(16, ge=1)
    """Problems in one optimizer step."""
    samples_per_prompt: int = Field(8, ge=1)
    """Completions of each problem; at least 2 where a completion is measured against its siblings, as it is by every
    advantage estimator but ``gae`` and ``batch_normalized``."""
    max_new_tokens: int = Field(256, ge=1)
    """Longest completion; a longer one is cut and counts as truncated."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature; log-probabilities are taken under it too."""
    stop: list[str] = Field([])
    """Strings that end a completion, beside the model's end-of-sequence tokens."""
    timeout_s: float | None = Field(None, gt=0)
    """Longest time in seconds that sampling one step may take before the run stops; null waits for ever."""
    verify_every: int = Field(10, ge=1)
    """Steps between comparisons of an engine's log-probabilities with the learner's, beside the one at the start; an
    engine that samples from the learner's own module needs none."""
    async_steps: int = Field(0, ge=0, le=1)
    """Steps that sampling runs ahead: 1 samples the next step while this one is learned, with weights one step old."""
    max_staleness: int | None = Field(None, ge=1)
    """Groups sampled more weight updates ago than this are left out; null keeps all, which are never older than the
    updates of ``async_steps`` steps."""

    @field_validator("stop")
    @classmethod
    def _refuse_empty_stops(cls, given: list[str]) -> list[str]:
        """An empty stop string would end every completion at once."""
        if "" in given:
            raise ValueError("holds an empty string, which would end every completion at once")
        return given


class VLLMSettings(Settings):
    """How vLLM is run, where ``rollout.engine`` is ``vllm`` or ``vllm_server``."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of its weights and products; ``auto`` takes the learner's type of products."""
    gpu_memory_utilization: float = Field(0.4, gt=0, le=1)
    """Share of the GPU's memory for weights and keys and values; the learner needs the rest when it is on the same."""
    cpu_kv_cache_gib: float = Field(1.0, gt=0)
    """Memory for keys and values on a CPU, in GiB."""
    max_model_len: int | None = Field(None, ge=1)
    """Longest prompt with completion, in tokens; null takes the model's limit."""
    max_num_seqs: int = Field(256, ge=1)
    """Most completions sampled side by side."""
    enforce_eager: bool | None = None
    """Whether to run without compilation and graphs; null does so on a CPU only, where they cost a minute of start."""
    sleep: bool = True
    """Whether an engine in this process gives its GPU memory to the learner while that learns."""
    replicas: int = Field(1, ge=1)
    """Servers to start, where no ``urls`` are given."""
    urls: list[str] = Field([])
    """Servers that run already, such as ``http://10.0.0.2:8000``, started as docs/vllm.md says."""
    weights: Literal["auto", "file", "nccl", "ipc"] = "auto"
    """How weights reach a server: through a file (``auto``). ``nccl`` (from GPU to GPU) and ``ipc`` (through a GPU's
    memory) are experimental: no test runs them."""
    weights_folder: str | None = None
    """Folder that learner and servers see, for weights that go through a file; null uses this machine's memory."""
    start_timeout_s: float = Field(600.0, gt=0)
    """Longest time until a server answers."""
    options: dict[str, Any] = Field({})
    """Further arguments of vLLM's own, such as ``tensor_parallel_size``; names that it does not know are refused."""

    @field_validator("urls")
    @classmethod
    def _refuse_other_addresses(cls, given: list[str]) -> list[str]:
        """Refuse what is no address of a server."""
        bad = [url for url in given if not url.startswith(("http://", "https://"))]
        if bad:
            raise ValueError(f"{bad[0]!r} is not the address of a server: write http://HOST:PORT")
        return given


DecayRate: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
"""Share of a running mean that stays at each update."""


class OptimizerSettings(Settings):
    """AdamW, its learning rate, and the size of a forward pass."""

    learning_rate: float = Field(1e-6, ge=0)
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the learning rate after warm-up; linear and cosine end at 0."""
    schedule_steps: int | None = Field(None, ge=2)
    """Step after which a linear or cosine learning rate is 0; null is the last step of the run. Give the length that a
    run may be extended to: then its first steps are those of the longer run."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay of matrices; vectors are not decayed."""
    adam_betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    """Decay rates of AdamW's moments."""
    adam_epsilon: float = Field(1e-8, gt=0)
    """Term added to AdamW's denominator."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients of greater norm are scaled down to it."""
    microbatch_tokens: int = Field(8192, ge=1)
    """Most tokens, padding included, in one forward pass. Never changes the gradient, only memory."""

    def schedule_length(self, num_steps: int) -> int:
        """Return the steps that the learning rate's schedule is spread over, in a run of so many."""
        return self.schedule_steps or num_steps

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        """Refuse a length that a schedule does not have, or that ends within its warm-up."""
        if self.schedule_steps is None:
            return self
        if self.schedule == "constant":
            raise ValueError("schedule_steps is set, but schedule is constant, which has no end: leave one of them out")
        if self.warmup_steps >= self.schedule_steps:
            raise ValueError(f"warmup_steps is {self.warmup_steps}, but schedule_steps is only {self.schedule_steps}")
        return self


class LearnerSettings(OptimizerSettings):
    """How the weights are updated."""

    minibatch_sequences: int | None = Field(None, ge=1)
    """Completions in one optimizer update; null updates once with all completions of the step."""
    epochs: int = Field(1, ge=1)
    """Passes over the completions of a step."""


class CriticSettings(Settings):
    """The critic: a model that expects the reward to come before every token, for an advantage estimator that asks for
    values (``gae``); without one these settings are refused.

    It has all of its weights learned, with the ``learner``'s optimizer, schedule, minibatches and epochs.
    """

    init: str = "policy"
    """What it starts from: ``policy`` is the model that learns (of an adapter its base) with a head that says 0, or the
    critic beside it where ``model.name`` is a checkpoint with one. Otherwise a reward model with one score, whose head
    it keeps, or another causal model: a folder, a hub name, or a run of ``reasonrl rm train``. All need the policy's
    tokenizer."""
    learning_rate: float | None = Field(None, ge=0)
    """Peak learning rate of the critic; null is 5 times ``learner.learning_rate``."""
    value_clip: float | None = Field(0.2, gt=0)
    """How far a value may move in a step before its error counts as if it had not moved back; null for no limit."""
    pretrain_steps: int = Field(0, ge=0)
    """First steps of the run in which the critic learns alone and the policy stays what it is."""


class PrimaryFigure(Settings):
    """A figure that a run is judged by, named before it begins."""

    suite: str
    """Name of a held-out suite of the run."""
    metric: str = "exact"
    """Which figure of the suite: ``exact`` (the mean over problems), ``pass@K``, or another that its results have."""
    direction: Literal["higher", "lower"] | None = None
    """Which way is better; null is lower for rates of what went wrong (``truncated``, ``unparsed``, ``timeout``,
    ``error``) and higher for all others."""


class EvaluationSettings(Settings):
    """Held-out measurement during a run."""

    suites: list[SuiteRef] = Field([])
    """Held-out suites, measured before the first step, every ``every`` steps and at the end."""
    every: int = Field(50, ge=1)
    """Steps between evaluations."""
    allow_overlap: str = ""
    """Why problems may stand in both training and held-out data; empty refuses such a run."""
    max_concurrent: int | None = Field(None, ge=1)
    """Completions sampled side by side; changes speed and memory only. Null is 64 with the embedded engine and 256 with
    others."""
    rewards: Literal["auto", "all", "none"] = "auto"
    """Whether the run's own rewards score the held-out completions too, beside the metric: ``auto`` does so
    unless a reward asks a service (an async one, such as a judge), which costs money; ``all`` asks those as well."""
    beside_learning: Literal["auto", "never"] = "auto"
    """``auto`` measures while the learner learns where the engine is free then: one with weights of its own that does
    not sleep, without ``rollout.async_steps``. Changes speed only."""
    primary: list[PrimaryFigure] = Field([])
    """The figures that the run is judged by, written to ``preregistration.json`` before its first step; all others are
    exploratory."""

    @field_validator("primary")
    @classmethod
    def _refuse_repeated_primaries(cls, given: list[PrimaryFigure]) -> list[PrimaryFigure]:
        """A figure that counts twice would be corrected for twice."""
        names = [(each.suite, each.metric) for each in given]
        if repeated := [name for index, name in enumerate(names) if name in names[:index]]:
            raise ValueError(f"{' '.join(repeated[0])} is there twice: keep one of them")
        return given

    @model_validator(mode="after")
    def _refuse_settings_without_suites(self) -> Self:
        """Refuse what says how to measure where nothing is measured."""
        if self.suites:
            return self
        for name in ("rewards", "beside_learning", "primary"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is set, but there are no suites to measure: add some, or leave it out")
        return self


class PluginSettings(Settings):
    """How the run's own process calls other people's code: tasks, suites, estimators, losses, engines, observers."""

    timeout_s: float | None = Field(TIMEOUT_S, gt=0)
    """Longest time in seconds of one call before the run stops with the plugin's name, loading a task's data and
    starting an engine included; null waits for ever. Rewards have ``scoring.timeout_s``."""


class _NumSteps(Settings):
    """Makes the length of a run the first of its settings."""

    steps: int = Field(ge=1)
    """Optimizer steps in all."""


class RunFolderSettings(Settings):
    """What a run of any kind leaves on disk."""

    root: str = "runs"
    """Folder that holds run directories."""
    checkpoint_every: int = Field(50, ge=1)
    """Steps between checkpoints; the last step always has one."""
    keep_checkpoints: int = Field(2, ge=1)
    """How many of the latest checkpoints stay on disk."""


class RunSettings(RunFolderSettings, _NumSteps):
    """How long the run is and what it leaves on disk."""

    rollouts_every: int = Field(1, ge=1)
    """Steps between rollout files."""


class RunConfig(Settings):
    """Everything that decides a run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the run directory under ``run.root``."""
    description: str = ""
    """A sentence for ``reasonrl configs list``."""
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    """Seed of data order and sampling."""
    model: ModelSettings
    """Which model learns."""
    task: TaskOrMixture
    """Where training problems come from: a task, or a list of tasks with weights, which may have rewards, templates and
    limits of their own."""
    curriculum: CurriculumSettings | None = None
    """Pass over problems that the model always or never solves; null takes all in their order."""
    template: str = "chat"
    """Prompt template: r1_zero, chat, boxed, program, plain, bare, another installed one, or the path of a Jinja
    file."""
    rewards: list[RewardRef] = Field([])
    """What scores a completion: a weighted sum. Needed unless every task has rewards of its own."""
    algorithm: AlgorithmSettings = Field(default_factory=lambda: AlgorithmSettings.model_validate({}))
    """The policy-gradient method."""
    rollout: RolloutSettings = RolloutSettings()
    """How completions are sampled."""
    vllm: VLLMSettings = VLLMSettings()
    """How vLLM is run."""
    learner: LearnerSettings = LearnerSettings()
    """How the weights are updated."""
    critic: CriticSettings = CriticSettings()
    """The critic, where the advantage estimator asks for values."""
    scoring: ScoringSettings = ScoringSettings()
    """How rewards are applied."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """Held-out measurement."""
    alarms: AlarmSettings = AlarmSettings()
    """Alarms during the run and what they do."""
    observers: list[Annotated[PluginRef, require_installed("observers")]] = Field([])
    """Functions that are told of all that happens in the run."""
    plugins: PluginSettings = PluginSettings()
    """How other people's code is called."""
    run: RunSettings
    """Length and files of the run."""

    @property
    def updates_per_step(self) -> int:
        """Optimizer updates of a step in which every minibatch teaches something."""
        sequences = self.rollout.prompts_per_step * self.rollout.samples_per_prompt
        return self.learner.epochs * sequences // (self.learner.minibatch_sequences or sequences)

    @model_validator(mode="after")
    def _check_coupled_values(self) -> Self:
        """Refuse settings that contradict each other or would be ignored."""
        sequences = self.rollout.prompts_per_step * self.rollout.samples_per_prompt
        minibatch = self.learner.minibatch_sequences
        if minibatch is not None and sequences % minibatch:
            raise ValueError(
                f"learner.minibatch_sequences is {minibatch}, but a step has prompts_per_step * "
                f"samples_per_prompt = {sequences} sequences, which it does not divide"
            )
        if self.learner.warmup_steps >= self.run.steps:
            raise ValueError(
                f"learner.warmup_steps is {self.learner.warmup_steps}, but the run has only {self.run.steps} steps"
            )
        if self.learner.warmup_steps + self.critic.pretrain_steps >= self.run.steps:
            raise ValueError(
                f"critic.pretrain_steps is {self.critic.pretrain_steps}, which leaves the policy no step of the run's "
                f"{self.run.steps} after learner.warmup_steps"
            )
        if self.rollout.samples_per_prompt == 1 and self.algorithm.refill_attempts:
            raise ValueError(
                "algorithm.refill_attempts replaces groups whose completions do not differ, but "
                "rollout.samples_per_prompt is 1, so none ever does: set refill_attempts: 0"
            )
        return self

    @property
    def tasks(self) -> tuple[RunTask, ...]:
        """The tasks, with what they leave to the run filled in; one where there is no mixture."""
        if not isinstance(self.task, list):
            return (self._filled("task", MixtureTask(**dict(self.task))),)
        return tuple(self._filled(f"task.{index}", task) for index, task in enumerate(self.task))

    def _filled(self, key: str, task: MixtureTask) -> RunTask:
        return RunTask(
            key=key,
            ref=task,
            label=task.key,
            weight=task.weight,
            rewards=tuple(self.rewards if task.rewards is None else task.rewards),
            template=task.template or self.template,
            max_new_tokens=task.max_new_tokens or self.rollout.max_new_tokens,
            stop=tuple(self.rollout.stop) if task.stop is None else task.stop,
        )

    @property
    def reward_lists(self) -> dict[str, list[RewardRef]]:
        """The lists of rewards in the run file, by key: the run's, and those of tasks that have their own."""
        of_tasks = {f"task.{index}.rewards": task.rewards for index, task in enumerate(self._mixture)}
        return {key: rewards for key, rewards in {"rewards": self.rewards, **of_tasks}.items() if rewards}

    @property
    def _mixture(self) -> list[MixtureTask]:
        return self.task if isinstance(self.task, list) else []

    @property
    def all_rewards(self) -> tuple[RewardRef, ...]:
        """The rewards of all tasks, each once."""
        return distinct_rewards(self.reward_lists)

    @property
    def longest_completion(self) -> int:
        """The greatest number of tokens that a completion of any task may have."""
        return max(task.max_new_tokens for task in self.tasks)

    @model_validator(mode="after")
    def _check_tasks(self) -> Self:
        """Refuse tasks without rewards, and names that stand for two things."""
        refuse_repeated_tasks(self.tasks)
        if lacking := [task.key for task in self.tasks if not task.rewards]:
            alone = "rewards: this setting is required: name what scores a completion"
            of_task = f"{lacking[0]}.rewards: this setting is required, as the run has no rewards either"
            raise ValueError(of_task if self._mixture else alone)
        if self.rewards and self._mixture and all(task.rewards for task in self._mixture):
            raise ValueError("rewards: every task has rewards of its own, so that these score nothing: leave them out")
        for key, rewards in self.reward_lists.items():
            refuse_bad_labels(rewards, key)
            refuse_no_weight(rewards, key)
        distinct_rewards(self.reward_lists)
        return self

    @model_validator(mode="after")
    def _refuse_repeated_observers(self) -> Self:
        """Refuse an observer that would be told everything twice."""
        for index, observer in enumerate(self.observers):
            if observer in self.observers[:index]:
                raise ValueError(f"observers.{index}: {observer.name!r} is there already, with the same params")
        return self

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        ignored = [name for name in ("workers", "memory_mib") if getattr(self.scoring, name) is not None]
        if ignored and all(reward.isolated is False for reward in self.all_rewards):
            raise ValueError(
                f"scoring.{ignored[0]} is set, but every reward says isolated: false, so there are no workers"
            )
        return self

    @property
    def method(self) -> AlgorithmSettings:
        """The policy-gradient method, with everything decided that depends on the engine."""
        return self.algorithm.for_engine(self.rollout.engine.name)

    @model_validator(mode="after")
    def _check_importance(self) -> Self:
        """Refuse limits of weights that there are none of."""
        given = [name for name in ("importance_low", "importance_high") if getattr(self.algorithm, name) is not None]
        if self.algorithm.importance == "auto" and given and self.method.importance == "none":
            raise ValueError(
                f"algorithm.{given[0]} is set, but engine {self.rollout.engine.name} samples from the learner's own "
                "module, so importance: auto has no weights: choose algorithm.importance: token, sequence or band"
            )
        return self

    @model_validator(mode="after")
    def _check_sampling_ahead(self) -> Self:
        """Refuse to sample and to learn at once where one would change what the other does."""
        if not self.rollout.async_steps:
            if self.rollout.max_staleness is not None:
                raise ValueError("rollout.max_staleness is set, but rollout.async_steps is 0: nothing is ever stale")
            return self
        if self.rollout.engine.name == "local":
            raise ValueError(
                "rollout.async_steps is 1, but engine local samples from the module that is being learned: use "
                "rollout.engine: vllm_server or vllm, or rollout.async_steps: 0"
            )
        if self.rollout.engine.name == "vllm" and self.vllm.sleep:
            raise ValueError(
                "rollout.async_steps is 1, so the engine samples while the learner learns and cannot give it its "
                "memory: set vllm.sleep: false, with a vllm.gpu_memory_utilization that leaves room for the learner"
            )
        if self.algorithm.importance == "none":
            raise ValueError(
                "rollout.async_steps is 1, so completions come from older weights than the learner's, which must be "
                "corrected for: set algorithm.importance: token"
            )
        if self.algorithm.kl_in == "reward" and self.algorithm.kl_target is not None:
            raise ValueError(
                "rollout.async_steps is 1 and algorithm.kl_target moves the coefficient while rewards are charged with "
                "it, whichever comes first: use algorithm.kl_in: loss, or algorithm.kl_target: null"
            )
        if self.algorithm.kl_in == "reward" and self.algorithm.kl_coefficient and self.model.lora:
            raise ValueError(
                "rollout.async_steps is 1, but algorithm.kl_in: reward asks the model that is being learned, with its "
                "adapter off: use algorithm.kl_in: loss, or algorithm.kl_coefficient: 0"
            )
        if self.algorithm.kl_measured and not self.algorithm.kl_coefficient and self.model.lora:
            raise ValueError(
                "rollout.async_steps is 1, but algorithm.kl_measured asks the model that is being learned, with its "
                "adapter off: use rollout.async_steps: 0, or algorithm.kl_measured: false"
            )
        return self

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        """Refuse a limit on a divergence that nobody measures."""
        if self.alarms.max_kl is not None and not self.algorithm.needs_reference:
            raise ValueError(
                "alarms.max_kl is set, but the divergence from the initial policy is not measured: set "
                "algorithm.kl_measured: true"
            )
        return self
