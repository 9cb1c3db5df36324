"""Everything that decides a run, as one strict model; :mod:`reasonrl.config.runfile` reads and writes it.

The string under each setting is its documentation: ``reasonrl config explain`` prints it.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from reasonrl.config.alarms import AlarmAction, AlarmSettings
from reasonrl.config.algorithm import SHARING_ENGINE, AlgorithmSettings, MethodSettings
from reasonrl.config.base import PluginRef, Settings, TrackerRef, require_installed
from reasonrl.config.curriculum import CurriculumSettings
from reasonrl.config.distillation import DistillationSettings, refuse_unfitting
from reasonrl.config.evaluation import EvaluationSettings, PrimaryFigure, SuiteRef
from reasonrl.config.learner import (
    AdamWSettings,
    CriticSettings,
    LearnerSettings,
    OptimizerSettings,
    ParallelSettings,
)
from reasonrl.config.model import LoraSettings, ModelSettings, require_device
from reasonrl.config.rewards import (
    RewardRef,
    ScoringSettings,
    Weight,
    WeightSchedule,
    refuse_bad_labels,
    refuse_no_weight,
)
from reasonrl.config.sampling import RolloutSettings, VLLMSettings
from reasonrl.config.tasks import (
    DifficultySettings,
    MixtureTask,
    RunTask,
    TaskOrMixture,
    TaskRef,
    distinct_rewards,
    refuse_repeated_tasks,
)
from reasonrl.plugins.boundary import TIMEOUT_S

LARGEST_SEED: Final = 2**63 - 1
"""What a seed of torch and numpy may be at most."""

__all__ = [
    "LARGEST_SEED",
    "AdamWSettings",
    "AlarmAction",
    "AlarmSettings",
    "AlgorithmSettings",
    "CriticSettings",
    "CurriculumSettings",
    "DifficultySettings",
    "DistillationSettings",
    "EvaluationSettings",
    "LearnerSettings",
    "LoraSettings",
    "MethodSettings",
    "MixtureTask",
    "ModelSettings",
    "OptimizerSettings",
    "ParallelSettings",
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
    "TrackerRef",
    "VLLMSettings",
    "Weight",
    "WeightSchedule",
    "refuse_bad_labels",
    "require_device",
]


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
    trackers: list[Annotated[TrackerRef, require_installed("trackers")]] = Field([])
    """Experiment trackers that get the metrics, the alarms, the settings and some rollouts of the run."""
    metric_names: Literal["reasonrl", "trl"] = "reasonrl"
    """Whose names the metrics have in the trackers; those that TRL has no name for keep ours. ``metrics.jsonl`` always
    has ours."""

    @model_validator(mode="after")
    def _refuse_ignored(self) -> Self:
        """Refuse a tracker that would be told everything twice, and names that nobody gets."""
        for index, tracker in enumerate(self.trackers):
            if tracker in self.trackers[:index]:
                raise ValueError(f"trackers.{index}: {tracker.name!r} is there already, with the same params")
        if self.metric_names != "reasonrl" and not self.trackers:
            raise ValueError(
                f"metric_names is {self.metric_names}, but there are no trackers whose metrics it would name: set "
                "trackers, such as trackers: [trackio]"
            )
        return self


class RunSettings(RunFolderSettings, _NumSteps):
    """How long the run is and what it leaves on disk."""

    rollouts_every: int = Field(1, ge=1)
    """Steps between rollout files."""


class EpochRunSettings(RunFolderSettings):
    """How long a training on given rows is, and what it leaves on disk."""

    steps: int | None = Field(None, ge=1)
    """Optimizer steps in all; null is ``epochs`` passes over the data."""
    epochs: float = Field(1.0, gt=0)
    """Passes over the data, where ``steps`` is null. One is usual for reward models, which overfit after it."""

    @model_validator(mode="after")
    def _refuse_both(self) -> Self:
        if self.steps is not None and self.epochs != 1.0:
            raise ValueError("steps and epochs are both set: keep one of them")
        return self


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
    """What scores a completion: a weighted sum. Needed unless every task has rewards of its own, or a teacher alone is
    learned from."""
    distillation: DistillationSettings | None = None
    """Learn from a teacher's log-probabilities of what the policy samples (on-policy distillation); null has none."""
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

    @property
    def learns_from_rewards(self) -> bool:
        """Whether rewards decide what is learned; else a teacher alone does."""
        return self.distillation is None or self.distillation.reward_weight > 0

    @property
    def max_staleness(self) -> int:
        """Most weight updates between sampling and learning, where sampling runs several steps ahead."""
        return self.rollout.max_staleness or 2 * self.rollout.async_steps * self.updates_per_step

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
    def _check_weights(self) -> Self:
        """Refuse weights in bfloat16 with an optimizer that does not round as they need it."""
        if self.model.weights_dtype == "bfloat16" and self.learner.optimizer == "adamw_8bit":
            raise ValueError(
                "model.weights_dtype is bfloat16, but learner.optimizer adamw_8bit rounds to the nearest, by which "
                "most updates would be lost: use learner.optimizer: adamw, or model.weights_dtype: float32"
            )
        return self

    @model_validator(mode="after")
    def _check_tasks(self) -> Self:
        """Refuse tasks without rewards, and names that stand for two things."""
        refuse_repeated_tasks(self.tasks)
        lacking = [task.key for task in self.tasks if not task.rewards]
        if lacking and self.distillation is None:
            alone = "rewards: this setting is required: name what scores a completion"
            of_task = f"{lacking[0]}.rewards: this setting is required, as the run has no rewards either"
            raise ValueError(of_task if self._mixture else alone)
        if self.rewards and self._mixture and all(task.rewards for task in self._mixture):
            raise ValueError("rewards: every task has rewards of its own, so that these score nothing: leave them out")
        for key, rewards in self.reward_lists.items():
            refuse_bad_labels(rewards, key)
            if self.learns_from_rewards:
                refuse_no_weight(rewards, key)
        distinct_rewards(self.reward_lists)
        return self

    @model_validator(mode="after")
    def _check_distillation(self) -> Self:
        """Refuse what a teacher contradicts or makes idle."""
        refuse_unfitting(self)
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
    def _check_token_entropy(self) -> Self:
        """Refuse to record what the engine does not tell."""
        if self.rollout.token_entropy and self.rollout.engine.name != SHARING_ENGINE:
            raise ValueError(
                f"rollout.token_entropy is true, but engine {self.rollout.engine.name} gives the log-probabilities of "
                f"sampled tokens alone: use rollout.engine: {SHARING_ENGINE}, or rollout.token_entropy: false"
            )
        return self

    @model_validator(mode="after")
    def _check_sampling_ahead(self) -> Self:
        """Refuse to sample and to learn at once where one would change what the other does."""
        ahead = self.rollout.async_steps
        if not ahead:
            if self.rollout.max_staleness is not None:
                raise ValueError("rollout.max_staleness is set, but rollout.async_steps is 0: nothing is ever stale")
            return self
        if self.rollout.engine.name == "local":
            raise ValueError(
                f"rollout.async_steps is {ahead}, but engine local samples from the module that is being learned: use "
                "rollout.engine: vllm_server or vllm, or rollout.async_steps: 0"
            )
        if self.rollout.engine.name == "vllm" and self.vllm.sleep:
            raise ValueError(
                f"rollout.async_steps is {ahead}, so the engine samples while the learner learns and cannot give it "
                "its memory: set vllm.sleep: false, with a vllm.gpu_memory_utilization that leaves room for the learner"
            )
        if self.algorithm.importance == "none":
            raise ValueError(
                f"rollout.async_steps is {ahead}, so completions come from older weights than the learner's, which "
                "must be corrected for: set algorithm.importance: token"
            )
        if self.algorithm.kl_in == "reward" and self.algorithm.kl_target is not None:
            raise ValueError(
                f"rollout.async_steps is {ahead} and algorithm.kl_target moves the coefficient while rewards are "
                "charged with it, whichever comes first: use algorithm.kl_in: loss, or algorithm.kl_target: null"
            )
        if self.algorithm.kl_in == "reward" and self.algorithm.kl_coefficient and self.model.lora:
            raise ValueError(
                f"rollout.async_steps is {ahead}, but algorithm.kl_in: reward asks the model that is being learned, "
                "with its adapter off: use algorithm.kl_in: loss, or algorithm.kl_coefficient: 0"
            )
        if self.algorithm.kl_measured and not self.algorithm.kl_coefficient and self.model.lora:
            raise ValueError(
                f"rollout.async_steps is {ahead}, but algorithm.kl_measured asks the model that is being learned, with "
                "its adapter off: use rollout.async_steps: 0, or algorithm.kl_measured: false"
            )
        return self

    @model_validator(mode="after")
    def _check_sampling_several_steps_ahead(self) -> Self:
        """Refuse what needs whole steps, and a bound that would leave out everything."""
        ahead, limit = self.rollout.async_steps, self.rollout.max_staleness
        if ahead < 2:
            return self
        if self.curriculum is not None:
            raise ValueError(
                f"rollout.async_steps is {ahead}, so problems are begun before the steps that a curriculum would judge "
                "them by are over: use rollout.async_steps: 1, or leave curriculum out"
            )
        if limit is not None and limit < ahead * self.updates_per_step:
            raise ValueError(
                f"rollout.max_staleness is {limit}, but a group that is sampled {ahead} steps ahead (async_steps) is "
                f"up to {ahead * self.updates_per_step} weight updates old in its turn, {self.updates_per_step} for "
                "each step: raise max_staleness to that or more, or lower async_steps"
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
