"""What learns in a run, and what samples from the learner's own module: built on every rank."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.config.algorithm import SHARING_ENGINE
from reasonrl.config.settings import AlgorithmSettings, ModelSettings, RunConfig
from reasonrl.distributed.collectives import num_ranks
from reasonrl.engines import EngineInputs
from reasonrl.engines.local import LocalEngine
from reasonrl.errors import ConfigError
from reasonrl.learner import Learner
from reasonrl.learner.controller import EntropyController, KLController
from reasonrl.learner.critic import ActorCritic, Critic
from reasonrl.learner.distillation import TeacherModel, TopKObjective
from reasonrl.learner.logprobs import LogprobModel, logprob_model
from reasonrl.learner.objectives import PolicyObjective
from reasonrl.learner.rng import restore_rng, seed_rng
from reasonrl.learner.strategies import Strategy, choose_strategy
from reasonrl.models.compute import Compute
from reasonrl.models.hardware import find_device, keep_freed_memory
from reasonrl.models.load import hold_in_bfloat16, load_model, load_tokenizer
from reasonrl.models.lora import adapter_of, exported_weights, is_base, prepare_adapter
from reasonrl.models.skeleton import load_skeleton
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.critic import build_critic
from reasonrl.run.distillation import load_teacher
from reasonrl.run.method import names_values


@dataclass(frozen=True, slots=True)
class InitialPolicy:
    """The policy before training, where the method compares with it."""

    model: LogprobModel | None
    controller: KLController
    used_in: Literal["reward", "loss", "metrics"]

    def for_use_in(self, place: Literal["reward", "loss", "metrics"]) -> LogprobModel | None:
        """Return it if the divergence from it is taken there; for the metrics alone where it is charged nowhere."""
        return self.model if self.used_in == place else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """What every rank of a run has."""

    tokenizer: PreTrainedTokenizerBase
    policy: LogprobModel
    initial: InitialPolicy
    actor: Learner
    critic: Critic | None
    learner: Learner | ActorCritic
    """The actor, with the critic where there is one."""
    teacher: TeacherModel | None
    """What is distilled from; None where there is none, and where a server has it."""
    strategy: Strategy
    device: torch.device
    compute: Compute
    """How the models are computed."""

    def engine_inputs(self, config: RunConfig) -> EngineInputs:
        """Return what an engine is made from."""
        model = self.actor.model
        return EngineInputs(
            model=model,
            tokenizer=self.tokenizer,
            compute=self.compute,
            device=self.device,
            weight_names=frozenset(name for name, _ in exported_weights(model)),
            adapter=adapter_of(model),
            vllm=config.vllm,
            token_entropy=config.rollout.token_entropy,
        )


def build_learning(
    config: RunConfig, plugins: Plugins, *, checkpoint: Path | None, rate_factor: float, compute: Compute
) -> Learning:
    """Load the models and what updates them; called on every rank, with the same arguments.

    Raises:
        ModelError: a model cannot be used.
    """
    loss = plugins.function("losses", config.algorithm.loss)  # a mistake in these is found before a model is loaded
    estimator = plugins.function("advantages", config.algorithm.advantage)
    keep_freed_memory()
    device = run_device(config.model.device)
    name = config.model.name if checkpoint is None else str(checkpoint)
    tokenizer = load_tokenizer(name)
    dtype = compute.dtype
    strategy = choose_strategy(config.learner.parallel, device, _num_parameters(name))
    _refuse_to_divide(config, strategy)
    model = strategy.load(partial(_policy, name, device, config.model, config.seed), dtype)
    initial = _initial_policy(config, model, strategy, compute)
    policy = logprob_model(model, compute, config.rollout.temperature)
    if config.model.weights_dtype == "bfloat16":
        for each in (policy, initial.model):
            if each is not None:
                hold_in_bfloat16(each.model)
    actor, critic = _actor(config, loss, policy, initial, rate_factor, strategy), None
    if names_values(estimator):
        critic = build_critic(
            config, tokenizer, device, dtype, checkpoint=checkpoint, rate_factor=rate_factor, strategy=strategy
        )
    learner = ActorCritic(actor, critic, pretrain_steps=config.critic.pretrain_steps) if critic else actor
    teacher = load_teacher(config, model, initial.model, strategy, compute)
    _restore(learner, checkpoint, config.seed)
    return Learning(
        tokenizer=tokenizer,
        policy=policy,
        initial=initial,
        actor=actor,
        critic=critic,
        learner=learner,
        teacher=teacher,
        strategy=strategy,
        device=device,
        compute=compute,
    )


def build_shared_engine(config: RunConfig, plugins: Plugins, learning: Learning) -> LocalEngine | None:
    """Return the engine that samples from this rank's module; None where the run's engine has weights of its own."""
    if config.rollout.engine.name != SHARING_ENGINE:
        return None
    engine: LocalEngine = plugins.call("engines", config.rollout.engine, learning.engine_inputs(config))
    return engine


def run_device(name: str) -> torch.device:
    """Return the device that a run asks for; of several ranks with GPUs, this rank's own.

    Raises:
        ConfigError: it is not here.
    """
    device = find_device(name)
    is_own = device.type != "cuda" or num_ranks() == 1
    return device if is_own else torch.device("cuda", torch.cuda.current_device())


def _refuse_to_divide(config: RunConfig, strategy: Strategy) -> None:
    """Refuse what has to see whole parameters, where these are divided among processes.

    Raises:
        ConfigError: it was asked for.
    """
    asked = {
        "model.weights_dtype is bfloat16": config.model.weights_dtype == "bfloat16",
        "learner.optimizer is adamw_8bit": config.learner.optimizer == "adamw_8bit",
    }
    if strategy.name == "fsdp2" and (found := [name for name, is_asked in asked.items() if is_asked]):
        raise ConfigError(
            f"{found[0]}, but learner.parallel.strategy is fsdp2, whose weights and moments are float32: use "
            "learner.parallel.strategy: ddp, or leave it out."
        )


def _num_parameters(name: str) -> int:
    """Return the size of a model that several ranks may have to divide; one does not ask."""
    return sum(parameter.numel() for parameter in load_skeleton(name).parameters()) if num_ranks() > 1 else 0


def _policy(
    name: str, device: torch.device, settings: ModelSettings, seed: int, weights_on: torch.device | None
) -> PreTrainedModel:
    """Load the model that learns, with its adapter where it has one; ``weights_on``: see the strategies' LoadModel."""
    model = load_model(name, device, gradient_checkpointing=settings.gradient_checkpointing, weights_on=weights_on)
    prepare_adapter(model, settings.lora, seed=seed)
    return model


def _initial_policy(config: RunConfig, policy: PreTrainedModel, strategy: Strategy, compute: Compute) -> InitialPolicy:
    """Return the policy without its adapter, or a copy of it, where a divergence from it is asked for."""
    algorithm: AlgorithmSettings = config.algorithm
    controller = KLController(algorithm)
    used_in = algorithm.kl_in if algorithm.kl_coefficient else "metrics"
    if not algorithm.needs_reference:
        return InitialPolicy(None, controller, used_in)
    name, device = config.model.name, policy.device
    within = is_base(name, policy)
    model = (
        policy
        if within
        else strategy.load(lambda weights_on: load_model(name, device, weights_on=weights_on), compute.dtype)
    )
    reference = logprob_model(model, compute, config.rollout.temperature, without_adapter=within)
    return InitialPolicy(reference, controller, used_in)


def _actor(
    config: RunConfig,
    loss: Callable[..., Tensor],
    policy: LogprobModel,
    initial: InitialPolicy,
    rate_factor: float,
    strategy: Strategy,
) -> Learner:
    """Return what updates the policy."""
    objective = _objective(config)(
        algorithm=config.method,
        loss=loss,
        policy=policy,
        max_new_tokens=config.rollout.max_new_tokens,
        controller=initial.controller,
        entropy=EntropyController(config.method),
        reference=initial.for_use_in("loss"),
    )
    num_steps = config.learner.schedule_length(config.run.steps) - config.critic.pretrain_steps
    return Learner(
        policy.model,
        objective,
        config.learner,
        num_steps=num_steps,
        rate_factor=rate_factor,
        strategy=strategy,
        seed=config.seed,
    )


def _objective(config: RunConfig) -> Callable[..., PolicyObjective]:
    """Return what makes the objective: that of the policy alone, or with a divergence from a teacher beside it."""
    distillation = config.distillation
    if distillation is None or distillation.top_k is None:
        return PolicyObjective
    return partial(TopKObjective, weight=distillation.weight)


def _restore(learner: Learner | ActorCritic, checkpoint: Path | None, seed: int) -> None:
    if checkpoint is None:
        return seed_rng(seed)
    learner.restore_state(checkpoint)
    return restore_rng(checkpoint)
