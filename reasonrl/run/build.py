"""What a run runs on: the model and everything that samples, scores and learns with it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.config.settings import AlgorithmSettings, ModelSettings, RunConfig
from reasonrl.engines import Engine, EngineInputs, SamplingParams
from reasonrl.errors import ConfigError
from reasonrl.learner import Learner
from reasonrl.learner.controller import KLController
from reasonrl.learner.credit import Credit
from reasonrl.learner.critic import ActorCritic, Critic
from reasonrl.learner.logprobs import LogprobModel, output_head
from reasonrl.learner.objectives import PolicyObjective
from reasonrl.learner.penalty import KLPenalty
from reasonrl.learner.rng import restore_rng, seed_rng
from reasonrl.loop import StepComponents
from reasonrl.models.hardware import compute_dtype, find_device, keep_freed_memory
from reasonrl.models.load import load_model, load_tokenizer
from reasonrl.models.lora import adapter_of, is_base, prepare_adapter
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.curriculum import CurriculumOrder
from reasonrl.rollout.environment import Environment, SingleTurn, TaskEnvironments
from reasonrl.rollout.groups import GroupSampler
from reasonrl.rollout.order import ProblemOrder
from reasonrl.rollout.sampler import RolloutSampler
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.run.critic import build_critic
from reasonrl.run.files.checkpoint import load_order
from reasonrl.run.guarded_engine import GuardedEngine
from reasonrl.run.inputs import RunInputs
from reasonrl.run.method import names_values
from reasonrl.run.tasks import problem_order
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.applying import TaskRewards
from reasonrl.scoring.penalties import AdjustedScorer, Adjustment, OverlongPenalty, drop_truncated
from reasonrl.system.timer import PhaseTimer
from reasonrl.types import Scorer

RunLearner: TypeAlias = Learner | ActorCritic
"""What learns in a run: the policy, or the policy with its critic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComponents:
    """What samples, scores and learns."""

    tokenizer: PreTrainedTokenizerBase
    engine: Engine
    rewards: RewardScorer
    learner: RunLearner
    policy: LogprobModel
    """The learner's model, as it computes log-probabilities."""
    step: StepComponents
    sampler: RolloutSampler
    """Samples and scores the steps of the run."""
    suite_renderers: Mapping[str, Renderer]
    """Make the prompts of each suite."""
    device: torch.device
    dtype: torch.dtype
    """Type of matrix products."""

    def close(self) -> None:
        """End what runs beside this process, when nothing is sampled or scored any more."""
        with closing(self.engine), closing(self.rewards):
            pass


def build_components(
    config: RunConfig,
    inputs: RunInputs,
    plugins: Plugins,
    *,
    checkpoint: Path | None = None,
    rate_factor: float = 1.0,
) -> RunComponents:
    """Load the model and everything that samples, scores and learns with it; to be closed.

    Args:
        config: the run.
        inputs: what it is about.
        plugins: where the loss, the advantage estimator and the engine come from.
        checkpoint: continue from this folder; None starts from the run's model.
        rate_factor: multiplies the learning rate.

    Raises:
        ModelError: the model or the template cannot be used.
        PluginError: the workers cannot load a reward.
        EngineError: the engine does not start.
    """
    loss = plugins.function("losses", config.algorithm.loss)  # a mistake in these is found before a model is loaded
    estimator = plugins.function("advantages", config.algorithm.advantage)
    keep_freed_memory()
    device = find_device(config.model.device)
    name = config.model.name if checkpoint is None else str(checkpoint)
    tokenizer = load_tokenizer(name)
    renderers, suite_renderers = _renderers(config, inputs, plugins, tokenizer)
    order = _order(config, inputs, checkpoint)
    with ExitStack() as started:
        rewards = RewardScorer(
            inputs.rewards, config.scoring, inputs.suites, device=str(device), of_tasks=TaskRewards.of_run(config)
        )
        started.enter_context(closing(rewards))
        model = _policy(name, device, config.model, config.seed)
        dtype = compute_dtype(config.model.compute_dtype, device, model.config.get_text_config().hidden_size)
        initial = _initial_policy(config.algorithm, config.model.name, model, dtype, config.rollout.temperature)
        policy = LogprobModel(model, output_head(model), dtype, config.rollout.temperature)
        actor, critic = _learner(config, loss, policy, initial, rate_factor), None
        if names_values(estimator):
            critic = build_critic(config, tokenizer, device, dtype, checkpoint=checkpoint, rate_factor=rate_factor)
        learner = ActorCritic(actor, critic, pretrain_steps=config.critic.pretrain_steps) if critic else actor
        _restore(learner, checkpoint, config.seed)
        engine = started.enter_context(closing(_engine(config, plugins, learner, tokenizer, dtype)))
        engine.load_weights(learner.weights(), learner.policy_version)
        scorer = AdjustedScorer(rewards, tuple(_adjustments(config, initial)))
        components = RunComponents(
            tokenizer=tokenizer,
            engine=engine,
            rewards=rewards,
            learner=learner,
            policy=policy,
            step=StepComponents(
                credit=_credit(config, estimator, tokenizer, critic),
                learner=learner,
                engine=engine,
                timer=PhaseTimer(),
            ),
            sampler=_sampler(config, order, environment_of(config, renderers.__getitem__), engine, scorer),
            suite_renderers=suite_renderers,
            device=device,
            dtype=dtype,
        )
        started.pop_all()  # from here on, whoever has the components closes them
    return components


@dataclass(frozen=True, slots=True)
class _InitialPolicy:
    """The policy before training, where the method compares with it."""

    model: LogprobModel | None
    controller: KLController
    used_in: Literal["reward", "loss", "metrics"]

    def for_use_in(self, place: Literal["reward", "loss", "metrics"]) -> LogprobModel | None:
        """Return it if the divergence from it is taken there; for the metrics alone where it is charged nowhere."""
        return self.model if self.used_in == place else None


def _renderers(
    config: RunConfig, inputs: RunInputs, plugins: Plugins, tokenizer: PreTrainedTokenizerBase
) -> tuple[dict[str, Renderer], dict[str, Renderer]]:
    """Return what makes training prompts, by template, and what makes those of each suite."""

    def renderer(template: str) -> Renderer:
        return Renderer(tokenizer, find_template(template, plugins), timeout_s=config.plugins.timeout_s)

    of_tasks = {task.template: renderer(task.template) for task in config.tasks}
    return of_tasks, {suite.name: renderer(suite.template) for suite in inputs.suites}


def _order(config: RunConfig, inputs: RunInputs, checkpoint: Path | None) -> ProblemOrder:
    """Return the stream of training problems; a curriculum goes on with what it had seen at the checkpoint."""
    order = problem_order(config, inputs.tasks)
    if isinstance(order, CurriculumOrder) and checkpoint is not None:
        order.restore(load_order(checkpoint))
    return order


def environment_of(config: RunConfig, renderer: Callable[[str], Renderer]) -> Environment:
    """Return what makes prompts of training problems and conducts the conversations, by task where there is a mixture.

    Args:
        config: the run.
        renderer: from a template's name to what makes prompts with it.
    """
    temperature = config.rollout.temperature
    environments = {
        task.label: SingleTurn(
            renderer=renderer(task.template),
            params=SamplingParams(max_new_tokens=task.max_new_tokens, temperature=temperature, stop=task.stop),
        )
        for task in config.tasks
    }
    if isinstance(config.task, list):
        return TaskEnvironments(environments=environments)
    return next(iter(environments.values()))


def _policy(name: str, device: torch.device, settings: ModelSettings, seed: int) -> PreTrainedModel:
    """Load the model that learns, with its adapter where it has one."""
    model = load_model(name, device, gradient_checkpointing=settings.gradient_checkpointing)
    prepare_adapter(model, settings.lora, seed=seed)
    return model


def _initial_policy(
    algorithm: AlgorithmSettings, name: str, policy: PreTrainedModel, dtype: torch.dtype, temperature: float
) -> _InitialPolicy:
    """Return the policy without its adapter, or a copy of it, where a divergence from it is asked for."""
    controller = KLController(algorithm)
    used_in = algorithm.kl_in if algorithm.kl_coefficient else "metrics"
    if not algorithm.needs_reference:
        return _InitialPolicy(None, controller, used_in)
    within = is_base(name, policy)
    model = policy if within else load_model(name, policy.device)
    reference = LogprobModel(model, output_head(model), dtype, temperature, without_adapter=within)
    return _InitialPolicy(reference, controller, used_in)


def _learner(
    config: RunConfig,
    loss: Callable[..., Tensor],
    policy: LogprobModel,
    initial: _InitialPolicy,
    rate_factor: float,
) -> Learner:
    """Return what updates the policy."""
    objective = PolicyObjective(
        algorithm=config.method,
        loss=loss,
        policy=policy,
        max_new_tokens=config.rollout.max_new_tokens,
        controller=initial.controller,
        reference=initial.for_use_in("loss"),
    )
    num_steps = config.learner.schedule_length(config.run.steps) - config.critic.pretrain_steps
    return Learner(policy.model, objective, config.learner, num_steps=num_steps, rate_factor=rate_factor)


def _credit(
    config: RunConfig, estimator: Callable[..., Any], tokenizer: PreTrainedTokenizerBase, critic: Critic | None
) -> Credit:
    """Return what compares trajectories. Any: an estimator returns one tensor or two."""
    return Credit(
        estimator=estimator,
        truncated=config.algorithm.truncated,
        decode=lambda token_ids: str(tokenizer.decode(token_ids)),
        predict=critic.predict if critic else None,
    )


def _restore(learner: RunLearner, checkpoint: Path | None, seed: int) -> None:
    if checkpoint is None:
        return seed_rng(seed)
    learner.restore_state(checkpoint)
    return restore_rng(checkpoint)


def _engine(
    config: RunConfig, plugins: Plugins, learner: RunLearner, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype
) -> Engine:
    """Start the engine. One with weights of its own has arbitrary ones until the learner's are loaded."""
    inputs = EngineInputs(
        model=learner.model,
        tokenizer=tokenizer,
        dtype=dtype,
        device=learner.model.device,
        weight_names=frozenset(name for name, _ in learner.weights()),
        adapter=adapter_of(learner.model),
        vllm=config.vllm,
    )
    engine: Engine = plugins.call("engines", config.rollout.engine, inputs)
    if engine.shares_weights and config.rollout.async_steps:
        raise ConfigError(
            f"rollout.async_steps is {config.rollout.async_steps}, but engine {config.rollout.engine.name!r} samples "
            "from the module that is being trained: use another engine, or rollout.async_steps: 0."
        )
    return GuardedEngine(engine, config.rollout.engine.name, config.plugins.timeout_s)


def _sampler(
    config: RunConfig, order: ProblemOrder, environment: Environment, engine: Engine, scorer: Scorer
) -> RolloutSampler:
    """Return what samples and scores the steps of the run."""
    rollout = config.rollout
    return RolloutSampler(
        order=order,
        groups=GroupSampler(environment=environment, engine=engine, timeout_s=rollout.timeout_s),
        scorer=scorer,
        prompts_per_step=rollout.prompts_per_step,
        samples_per_prompt=rollout.samples_per_prompt,
        refill_attempts=config.algorithm.refill_attempts,
        seed=config.seed,
    )


def _adjustments(config: RunConfig, initial: _InitialPolicy) -> Iterator[Adjustment]:
    """Yield what the method takes off the rewards."""
    algorithm = config.algorithm
    if algorithm.overlong_window is not None:
        yield OverlongPenalty(config.rollout.max_new_tokens, algorithm.overlong_window)
    if (reference := initial.for_use_in("reward") or initial.for_use_in("metrics")) is not None:
        yield KLPenalty(
            reference=reference,
            controller=initial.controller,
            microbatch_tokens=config.learner.microbatch_tokens,
            is_charged=initial.used_in == "reward",
        )
    if algorithm.truncated == "drop":
        yield drop_truncated
