"""Everything that decides a run, as one strict model; :mod:`reasonrl.config.runfile` reads and writes it.

The string under each setting is its documentation: ``reasonrl config explain`` prints it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from reasonrl.config.mistakes import describe_mistake
from reasonrl.errors import PluginError, and_known
from reasonrl.plugins.boundary import TIMEOUT_S
from reasonrl.plugins.lookup import Kind, installed_plugins


class Settings(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class PluginRef(Settings):
    """A plugin and its parameters: an installed name, ``./file.py:name`` or ``package.module:name``."""

    name: str
    """An installed name, ``./file.py:name`` (from the current folder) or ``package.module:name``."""
    params: dict[str, Any] = {}
    """Parameters of the plugin's function; unknown ones are refused. Any: their types are the function's."""

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_name(cls, given: object) -> object:
        """Let ``task: arithmetic`` stand for ``task: {name: arithmetic}``."""
        return {"name": given} if isinstance(given, str) else given


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
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Strings that end a completion."""


def _require_installed(kind: Kind) -> AfterValidator:
    """Refuse a name that no package offers; a reference to a file or a module is looked up when it is used."""

    def check(ref: PluginRef) -> PluginRef:
        plugins = installed_plugins()
        if ":" not in ref.name and ref.name not in plugins.entries(kind):
            raise ValueError(plugins.unknown(kind, ref.name))
        return ref

    return AfterValidator(check)


class WeightSchedule(Settings):
    """A weight that moves with the step: ``start`` at step 1, ``end`` from step ``steps`` on."""

    start: float = Field(allow_inf_nan=False)
    """Weight at step 1."""
    end: float = Field(allow_inf_nan=False)
    """Weight at step ``steps`` and later."""
    steps: int = Field(ge=2)
    """Step at which ``end`` is reached."""
    shape: Literal["linear", "cosine"] = "linear"
    """The way from one to the other: a line, or half a cosine, which begins and ends gently."""

    def at(self, step: int) -> float:
        """Return the weight at a step."""
        done = min(max((step - 1) / (self.steps - 1), 0.0), 1.0)
        share = done if self.shape == "linear" else (1 - math.cos(math.pi * done)) / 2
        return (1 - share) * self.start + share * self.end


def _kind_of_weight(given: object) -> str:
    """Tell a schedule from a number; the names have a space, so that no key can be confused with them."""
    return "a schedule" if isinstance(given, Mapping | WeightSchedule) else "a number"


Weight: TypeAlias = Annotated[
    Annotated[float, Field(allow_inf_nan=False), Tag("a number")] | Annotated[WeightSchedule, Tag("a schedule")],
    Discriminator(_kind_of_weight),
]
"""A number, or a :class:`WeightSchedule`."""


class RewardRef(PluginRef):
    """A reward, what it counts, and how it is run."""

    label: str | None = None
    """Its name in metrics, rollouts and messages, where it is not ``name``; needed where one reward is used twice."""
    weight: Weight = 1.0
    """Factor of this reward in the weighted sum that becomes the score; a schedule moves it with the step. At 0 the
    reward is only measured: neither its value nor the lack of one changes a score, but through a gate."""
    gate: str | None = None
    """Label of another reward: this one counts only where that one's value is at least ``gate_at_least``, else 0."""
    gate_at_least: float = Field(1.0, allow_inf_nan=False)
    """Smallest value of the reward named by ``gate`` that lets this one count."""
    style: Literal["auto", "plain", "trl", "trl_chat", "verl"] = "auto"
    """Whose signature the function has: reasonrl's (``plain``), TRL's with completions as text (``trl``) or as
    conversations (``trl_chat``), verl's ``compute_score``; ``auto`` tells by its parameters."""
    timeout_s: float | None = Field(None, gt=0)
    """Longest time in seconds that one call may run; null is ``scoring.timeout_s``, or what the reward says."""
    timeout_value: float | None = Field(None, allow_inf_nan=False)
    """Value of a call that ran out of time; null gives its samples no score."""
    isolated: bool | None = None
    """Run it in worker processes, which can be stopped; false runs it in the run's own process without a time limit.
    Null is what the reward says: true, or false for one that needs the run's process, as a model on the GPU does."""
    concurrency: int | None = Field(None, ge=1)
    """Calls of an async reward that run side by side; null is as many as what it keeps open serves, or 16."""
    per_minute: int | None = Field(None, ge=1)
    """Most calls of an async reward begun in a minute; null sets no limit."""
    retries: int = Field(3, ge=0)
    """Times that an async reward is called again after a failed connection, a timeout of the service, or an answer
    that says to come back (HTTP 429 and 5xx)."""

    @property
    def key(self) -> str:
        """Return the name in metrics, rollouts and messages."""
        return self.label or self.name

    def weight_at(self, step: int) -> float:
        """Return the weight at a step."""
        return self.weight.at(step) if isinstance(self.weight, WeightSchedule) else self.weight

    @field_validator("label")
    @classmethod
    def _refuse_taken_labels(cls, given: str | None) -> str | None:
        """Refuse a label that would write over another metric, or names nothing."""
        if given is not None and (not given.strip() or given in ("mean", "std")):
            raise ValueError(f"{given!r} cannot be a label: reward/mean and reward/std are those of the total")
        return given

    @model_validator(mode="after")
    def _refuse_ignored_settings(self) -> Self:
        """Refuse a setting that has no effect beside the others."""
        if self.gate is None and self.gate_at_least != 1.0:
            raise ValueError("gate_at_least is set, but there is no gate: name the label of a reward in gate")
        if self.isolated is False and (self.timeout_s, self.timeout_value) != (None, None):
            raise ValueError(
                "timeout_s or timeout_value is set, but isolated is false: a call in the run's own process cannot be "
                "stopped. Leave them out, or use isolated: true"
            )
        return self


def refuse_bad_labels(rewards: Sequence[RewardRef]) -> None:
    """Refuse rewards that share a label, and gates that no other reward can open.

    Raises:
        ValueError: the first mistake, by key.
    """
    labels = [reward.key for reward in rewards]
    for index, reward in enumerate(rewards):
        if reward.key in labels[:index]:
            raise ValueError(f"rewards.{index}: {reward.key!r} is there already; give one of them a label of its own")
        others = [label for label in labels if label != reward.key]
        if reward.gate is not None and reward.gate not in others:
            raise ValueError(f"rewards.{index}.gate: no other reward {reward.gate!r}.{and_known(reward.gate, others)}")
    for cycle in _gate_cycles({reward.key: reward.gate for reward in rewards}):
        raise ValueError(f"rewards: the gates of {' and '.join(cycle)} wait for each other; remove one of them")


def _gate_cycles(gates: Mapping[str, str | None]) -> Iterator[list[str]]:
    """Yield the rewards of each circle of gates, once for each reward in it."""
    for first in gates:
        passed, label = [first], gates[first]
        while label is not None and label not in passed:
            passed.append(label)
            label = gates[label]
        if label == first:
            yield passed


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


class ScoringSettings(Settings):
    """How rewards are applied."""

    max_failure_rate: float = Field(0.1, ge=0, le=1)
    """Stop the run when more than this share of a step's samples get no score from some reward that counts, because it
    failed or ran out of time."""
    workers: int | None = Field(None, ge=1)
    """Processes that rewards run in; null is the machine's cores but one, and at least one."""
    timeout_s: float = Field(10.0, gt=0)
    """Longest time in seconds that one call of a reward may run, waiting for a worker not counted."""
    memory_mib: int | None = Field(None, ge=64)
    """Most memory of a worker, in MiB; a call that needs more fails. Null sets no limit."""


class MethodSettings(Settings):
    """The values that a preset sets; what it does not name is off."""

    advantage: Annotated[PluginRef, _require_installed("advantages")]
    """Advantage estimator, by name. With several rewards all but ``gdpo`` compare their weighted sums, so that the one
    that varies most decides; ``gdpo`` gives each the same spread in its group first, and weighs and adds them then."""
    loss: Annotated[PluginRef, _require_installed("losses")]
    """Policy loss, by name, and its parameters, such as ``clip_high``. Parameters given beside a preset with the same
    loss are added to the preset's; those of another loss replace them."""
    reduction: Literal["token_mean", "sequence_mean", "fixed_length"]
    """How token losses become one number; see ``reasonrl.algorithms.reductions``."""
    kl_coefficient: float = Field(0.0, ge=0)
    """Weight of the divergence from the initial policy; 0 loads no reference policy, unless ``kl_measured``."""
    kl_measured: bool = False
    """Measure the divergence from the initial policy where it is not charged (``policy/kl``, ``policy/kl_sequence``),
    at the cost of a reference policy and one forward pass of it a step. Where it is charged it is always measured."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """Estimate of the divergence; in the loss each has the gradient of KL(policy || reference)."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Where the divergence is charged: beside the policy loss, or off each completion's reward (k1 only)."""
    kl_target: float | None = Field(None, gt=0)
    """Divergence, in nats a token, that the coefficient is adapted to; null keeps the coefficient."""
    kl_horizon: int = Field(10_000, ge=1)
    """Completions over which the coefficient follows the divergence."""
    entropy_coefficient: float = Field(0.0, ge=0)
    """Weight of the policy's entropy, which the loss then rewards."""
    importance: Literal["none", "token", "sequence", "band"] = "none"
    """Truncated importance weights against the sampler's log-probabilities."""
    importance_low: float | None = Field(None, ge=0)
    """Least importance weight; ``band`` drops tokens below it."""
    importance_high: float | None = Field(None, gt=0)
    """Largest importance weight; ``band`` drops tokens above it."""
    truncated: Literal["penalize", "mask", "drop"] = "penalize"
    """What a completion cut at ``max_new_tokens`` does: ``penalize`` learns from its reward as from any other,
    ``mask`` leaves it in the baseline and in the average but not in the gradient, ``drop`` in none of them."""
    overlong_window: float | None = Field(None, gt=0, le=1)
    """Last share of ``max_new_tokens`` over which a growing penalty, at most 1, is taken off the reward."""
    refill_attempts: int = Field(0, ge=0)
    """Times that groups which teach nothing are replaced by groups of other problems; 0 keeps them."""

    @property
    def needs_reference(self) -> bool:
        """Whether the initial policy is needed beside the one that learns."""
        return self.kl_coefficient > 0 or self.kl_measured

    @model_validator(mode="after")
    def _check_divergence(self) -> Self:
        """Refuse a divergence whose gradient would be another one, or a target that nothing follows."""
        if self.kl_in == "reward" and self.kl_estimator != "k1":
            raise ValueError(
                f"kl_estimator {self.kl_estimator} in the reward leaves out the estimate's own gradient, which is 0 "
                "in expectation for k1 only: use kl_estimator: k1, or kl_in: loss"
            )
        if self.kl_in == "reward" and self.kl_coefficient and self.advantage.name == "gdpo":
            raise ValueError(
                "advantage gdpo gives every part of the reward the same spread, so kl_coefficient would not matter in "
                "the reward: use kl_in: loss with kl_estimator: k3"
            )
        if self.kl_target is not None and self.kl_coefficient == 0:
            raise ValueError("kl_target is set, but kl_coefficient is 0: give the coefficient to start from, as 0.01")
        return self

    @model_validator(mode="after")
    def _check_importance(self) -> Self:
        low, high = self.importance_low, self.importance_high
        if self.importance == "none" and (low, high) != (None, None):
            raise ValueError("importance_low or importance_high is set, but importance is none: choose token or band")
        if low is not None and high is not None and low >= high:
            raise ValueError(f"importance_low is {low}, which is not below importance_high, {high}")
        return self


class _PresetName(Settings):
    """Makes the preset the first of its settings."""

    preset: str = "dr_grpo"
    """Named set of all values below; a value given beside it replaces the preset's."""


class AlgorithmSettings(MethodSettings, _PresetName):
    """The policy-gradient method; a preset sets every value that belongs together."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: object) -> object:
        """Complete the given values from the preset they name."""
        given = {"preset": given} if isinstance(given, str) else given
        if not isinstance(given, Mapping):
            return given
        name = str(given.get("preset", cls.model_fields["preset"].default))
        preset = _preset(name)
        beside = {role: _beside(getattr(preset, role), given[role]) for role in ("advantage", "loss") if role in given}
        filled = {**preset.model_dump(), **given, **beside, "preset": name}
        return {**filled, **_importance_range(filled)}


def _preset(name: str) -> MethodSettings:
    """Return all values of an installed preset.

    Raises:
        ValueError: there is none of this name.
        PluginError: its values cannot be.
    """
    plugins = installed_plugins()
    if name not in (entries := plugins.entries("presets")):
        raise ValueError(plugins.unknown("presets", name).replace("no ", "no preset ", 1))
    try:
        return MethodSettings.model_validate(entries[name].value)
    except ValidationError as error:
        mistakes = "; ".join(describe_mistake(item, MethodSettings).rstrip(".") for item in error.errors())
        raise PluginError(f"{entries[name].label}: {mistakes}. Mend its package, or choose another preset.") from None


def _beside(usual: PluginRef, given: object) -> object:
    """Return a plugin given beside a preset: parameters are added to the preset's where it is the same plugin."""
    given = given.model_dump() if isinstance(given, PluginRef) else {"name": given} if isinstance(given, str) else given
    if not isinstance(given, Mapping) or given.get("name", usual.name) != usual.name:
        return given
    params = given.get("params", {})
    return {
        **given,
        "name": usual.name,
        "params": {**usual.params, **params} if isinstance(params, Mapping) else params,
    }


def _importance_range(given: Mapping[str, object]) -> dict[str, object]:
    """Fill in the limits that go with the kind of importance weights, where none are given."""
    usual = {"token": (0.0, 2.0), "sequence": (0.0, 2.0), "band": (0.5, 5.0)}
    low, high = usual.get(str(given["importance"]), (None, None))
    chosen = {"importance_low": low, "importance_high": high}
    return {name: value if given[name] is None else given[name] for name, value in chosen.items()}


class RolloutSettings(Settings):
    """How completions are sampled."""

    engine: Annotated[PluginRef, _require_installed("engines")] = PluginRef(name="local")
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
    stop: list[str] = []
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
    urls: list[str] = []
    """Servers that run already, such as ``http://10.0.0.2:8000``, started as docs/vllm.md says."""
    weights: Literal["auto", "file", "nccl", "ipc"] = "auto"
    """How weights reach a server: through a file (``auto``). ``nccl`` (from GPU to GPU) and ``ipc`` (through a GPU's
    memory) are experimental: no test runs them."""
    weights_folder: str | None = None
    """Folder that learner and servers see, for weights that go through a file; null uses this machine's memory."""
    start_timeout_s: float = Field(600.0, gt=0)
    """Longest time until a server answers."""
    options: dict[str, Any] = {}
    """Further arguments of vLLM's own, such as ``tensor_parallel_size``; names that it does not know are refused."""


class OptimizerSettings(Settings):
    """AdamW, its learning rate, and the size of a forward pass."""

    learning_rate: float = Field(1e-6, ge=0)
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the learning rate after warm-up; linear and cosine end at 0."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay of matrices; vectors are not decayed."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's moments."""
    adam_epsilon: float = Field(1e-8, gt=0)
    """Term added to AdamW's denominator."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients of greater norm are scaled down to it."""
    microbatch_tokens: int = Field(8192, ge=1)
    """Most tokens, padding included, in one forward pass. Never changes the gradient, only memory."""


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


class EvaluationSettings(Settings):
    """Held-out measurement during a run."""

    suites: list[SuiteRef] = []
    """Held-out suites, measured before the first step, every ``every`` steps and at the end."""
    every: int = Field(50, ge=1)
    """Steps between evaluations."""
    allow_overlap: str = ""
    """Why problems may stand in both training and held-out data; empty refuses such a run."""
    batch_problems: int = Field(64, ge=1)
    """Problems sampled at once; changes speed and memory only."""


def _word_off(given: object) -> object:
    """Undo YAML 1.1, which reads the word ``off`` as false."""
    return "off" if given is False else given


AlarmAction: TypeAlias = Annotated[Literal["off", "warn", "stop", "rollback"], BeforeValidator(_word_off)]
"""What an alarm does: nothing; a note; end the run as failed; go on from a checkpoint with a lower learning rate."""


class AlarmSettings(Settings):
    """What is watched during a run, and what each alarm does: ``off``, ``warn``, ``stop`` or ``rollback``.

    ``stop`` ends the run as failed; ``rollback`` goes on from the last checkpoint from before the trouble, or from the
    start where none of those that are kept (``run.keep_checkpoints``) is old enough.
    """

    no_useful_groups: AlarmAction = "warn"
    """Fewer than ``min_useful_groups`` of a step's groups have completions that differ in reward."""
    entropy_collapse: AlarmAction = "warn"
    """The policy's entropy is below ``min_entropy``."""
    entropy_explosion: AlarmAction = "warn"
    """The policy's entropy is more than ``max_entropy_rise`` above that of the run's first steps."""
    truncation: AlarmAction = "warn"
    """More than ``max_truncated`` of a step's completions are cut at ``rollout.max_new_tokens``."""
    repetition: AlarmAction = "warn"
    """More than ``max_repetition`` of a step's completions end in a loop of the same few tokens."""
    not_finite: AlarmAction = "stop"
    """A gradient, or any other measured number, is not finite. The update is left out whatever the action."""
    gradient_spike: AlarmAction = "warn"
    """The norm of the gradient is more than ``spike_factor`` times its recent median."""
    heldout_fall: AlarmAction = "warn"
    """A held-out figure is ``heldout_margin`` below its best, although the training reward has risen since."""
    reward_failures: AlarmAction = "warn"
    """A reward fails, or runs out of time, on more than ``max_reward_failures`` of a step's samples."""
    over_optimization: AlarmAction = "warn"
    """The figure named by ``gold`` has fallen since its peak by more than noise explains, although the training reward
    has risen. A roll-back goes to a checkpoint from before the peak. Needs ``gold``."""
    out_of_range: AlarmAction = "warn"
    """More than ``max_out_of_range`` of a step's samples have a score from a reward model that is above the 99.9th
    percentile of the scores of its own training data."""
    kl_budget: AlarmAction = "warn"
    """The divergence from the initial policy is above ``max_kl``. Needs ``max_kl``."""
    patience: int = Field(5, ge=1)
    """Steps in a row that a condition must hold to be an alarm, and must be gone before it can be another one.
    Gradients that are not finite or spike, held-out figures and ``over_optimization`` are alarms at once."""
    min_useful_groups: float = Field(0.05, ge=0, le=1)
    """Smallest healthy share of useful groups."""
    min_entropy: float = Field(0.01, ge=0)
    """Smallest healthy entropy, in nats a token. Short answers to easy problems are healthy at 0.02; for
    completions of hundreds of tokens 0.05 warns earlier."""
    max_entropy_rise: float = Field(1.0, gt=0)
    """Largest healthy rise of the entropy over its median in the first ``patience`` steps, in nats a token."""
    max_truncated: float = Field(0.9, ge=0, le=1)
    """Largest healthy share of truncated completions."""
    max_repetition: float = Field(0.3, ge=0, le=1)
    """Largest healthy share of repetitive completions."""
    max_reward_failures: float = Field(0.02, ge=0, le=1)
    """Largest healthy share of a step's samples on which one reward fails or runs out of time."""
    spike_factor: float = Field(10.0, gt=1)
    """Largest healthy gradient norm, as a multiple of the median of the 20 steps before."""
    heldout_margin: float = Field(0.05, ge=0)
    """Largest healthy fall of a held-out figure below its best; leave room for the noise of the suite's size."""
    gold: str | None = None
    """What the training reward stands for, measured apart: the label of a reward, usually one of weight 0, or the name
    of a held-out suite."""
    max_false_alarms: float = Field(0.05, gt=0, lt=1)
    """Chance of the alarm ``over_optimization`` in a run of 300 steps whose gold figure varies by noise alone. A
    smaller one needs more evidence, and so more steps after the peak."""
    max_out_of_range: float = Field(0.05, ge=0, le=1)
    """Largest healthy share of samples whose score is out of a reward model's range."""
    max_kl: float | None = Field(None, gt=0)
    """Largest allowed divergence from the initial policy, in nats a completion (``policy/kl_sequence``); null sets no
    limit. Needs a divergence that is measured: ``algorithm.kl_measured``, or a ``kl_coefficient``."""
    rollback_rate_factor: float = Field(0.5, gt=0, le=1)
    """The learning rate is multiplied by this at each roll-back, and stays so when the run is resumed."""
    max_rollbacks: int = Field(3, ge=1)
    """Roll-backs of a run; an alarm that asks for one more stops it."""

    @model_validator(mode="after")
    def _refuse_ignored_actions(self) -> Self:
        """Refuse an action of an alarm that has nothing to look at, and what an alarm that is off would look at."""
        for alarm, needed in (("over_optimization", "gold"), ("kl_budget", "max_kl")):
            action, given = getattr(self, alarm), getattr(self, needed)
            if action in ("stop", "rollback") and given is None:
                raise ValueError(f"{alarm} is {action}, but {needed} is not set, so there is nothing to watch")
            if action == "off" and given is not None:
                raise ValueError(f"{needed} is set, but {alarm} is off: leave one of them out")
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
    seed: int = Field(0, ge=0)
    """Seed of data order and sampling."""
    model: ModelSettings
    """Which model learns."""
    task: PluginRef
    """Where training problems come from."""
    template: str = "chat"
    """Prompt template: r1_zero, chat, boxed, program, plain, bare, another installed one, or the path of a Jinja
    file."""
    rewards: list[RewardRef] = Field(min_length=1)
    """What scores a completion: a weighted sum."""
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
    observers: list[Annotated[PluginRef, _require_installed("observers")]] = []
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
        refuse_bad_labels(self.rewards)
        return self

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        ignored = [name for name in ("workers", "memory_mib") if getattr(self.scoring, name) is not None]
        if ignored and all(reward.isolated is False for reward in self.rewards):
            raise ValueError(
                f"scoring.{ignored[0]} is set, but every reward says isolated: false, so there are no workers"
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
