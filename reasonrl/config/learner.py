"""Settings of the optimizer, the learner and the critic."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from reasonrl.config.base import Settings

DecayRate: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
"""Share of a running mean that stays at each update."""


class AdamWSettings(Settings):
    """AdamW and its learning rate."""

    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """``adamw`` has moments in float32, ``adamw_8bit`` in 8 bits (arXiv:2110.02861), a quarter of their memory. That
    needs bitsandbytes: ``pip install 'reasonrl[adamw-8bit]'``."""

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


class OptimizerSettings(AdamWSettings):
    """AdamW, its learning rate, and the size of a forward pass."""

    microbatch_tokens: int = Field(8192, ge=1)
    """Most tokens, padding included, in one forward pass. Never changes the gradient, only memory."""


class ParallelSettings(Settings):
    """How several processes learn together, started by ``--processes N``, ``torchrun`` or ``accelerate launch``."""

    strategy: Literal["auto", "ddp", "fsdp2"] = "auto"
    """``ddp``: every process holds the whole model, and gradients are summed once an update. ``fsdp2``: weights,
    gradients and optimizer are divided among the processes. ``auto`` is ddp where that fits into a process's GPU, and
    on CPUs."""
    processes: int | None = Field(None, ge=1)
    """Processes that must be there; another number is an error. Null takes those that were started."""
    reshard_after_forward: bool = True
    """fsdp2: whether a layer's gathered weights are freed between forward and backward pass; false needs memory for all
    of them and saves gathering them twice."""
    cpu_offload: bool = False
    """fsdp2: keep weights, gradients and optimizer in the host's memory, on the GPU only the layer that is needed."""
    timeout_s: float = Field(600.0, gt=0)
    """Longest time in seconds that a process waits for the others, and that it may be silent, before the run ends with
    its name."""


class LearnerSettings(OptimizerSettings):
    """How the weights are updated."""

    minibatch_sequences: int | None = Field(None, ge=1)
    """Completions in one optimizer update; null updates once with all completions of the step."""
    epochs: int = Field(1, ge=1)
    """Passes over the completions of a step."""
    parallel: ParallelSettings = ParallelSettings()
    """How several processes learn together."""


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
