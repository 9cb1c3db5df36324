"""What a run runs on: the model and everything that samples, scores and learns with it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from reasonrl.config.settings import RunConfig
from reasonrl.distributed.calls import Ranks
from reasonrl.distributed.collectives import num_ranks
from reasonrl.engines import Engine, SamplingParams
from reasonrl.engines.spread import RankSampler, SpreadEngine
from reasonrl.errors import ConfigError
from reasonrl.learner.credit import Credit
from reasonrl.learner.critic import Critic
from reasonrl.learner.distillation import TeacherModel, TeacherScoring
from reasonrl.learner.penalty import KLPenalty
from reasonrl.loop import StepComponents
from reasonrl.models.compute import Choice, Compute
from reasonrl.models.load import load_tokenizer
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.curriculum import CurriculumOrder
from reasonrl.rollout.environment import Environment, SingleTurn, TaskEnvironments
from reasonrl.rollout.groups import GroupSampler
from reasonrl.rollout.order import ProblemOrder
from reasonrl.rollout.sampler import RolloutSampler
from reasonrl.rollout.shared_engine import SharedEngine
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.run.computing import run_choice
from reasonrl.run.distillation import OpenedTeacher, open_teacher, require_fitting_teacher, teacher_credit
from reasonrl.run.files.checkpoint import load_order
from reasonrl.run.guarded_engine import GuardedEngine
from reasonrl.run.inputs import RunInputs
from reasonrl.run.learning import InitialPolicy, Learning, run_device
from reasonrl.run.ranks import CalledLearner, CalledLogprobs, all_ranks
from reasonrl.run.tasks import problem_order
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.applying import TaskRewards
from reasonrl.scoring.penalties import AdjustedScorer, Adjustment, OverlongPenalty, drop_truncated
from reasonrl.system.timer import PhaseTimer
from reasonrl.types import Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComponents:
    """What samples, scores and learns."""

    tokenizer: PreTrainedTokenizerBase
    engine: Engine
    rewards: RewardScorer
    learner: CalledLearner
    critic: Critic | None
    policy: CalledLogprobs
    """The learner's model, as it computes log-probabilities."""
    step: StepComponents
    sampler: RolloutSampler
    """Samples and scores the steps of the run."""
    suite_renderers: Mapping[str, Renderer]
    """Make the prompts of each suite."""
    num_ranks: int
    """Processes that learn together."""
    strategy: str
    """How the ranks share the model: ``single``, ``ddp`` or ``fsdp2``."""
    device: torch.device
    choice: Choice
    """How the models are computed, and why."""
    teacher: OpenedTeacher | None
    """What is distilled from."""
    teacher_model: TeacherModel | None
    """The teacher where this process computes it."""

    @property
    def compute(self) -> Compute:
        """How the models are computed."""
        return self.choice.compute

    @property
    def dtype(self) -> torch.dtype:
        """Type of matrix products."""
        return self.compute.dtype

    def close(self) -> None:
        """End what runs beside this process, when nothing is sampled or scored any more."""
        with closing(self.engine), closing(self.rewards), closing(self.teacher) if self.teacher else nullcontext():
            pass


def build_components(
    config: RunConfig,
    inputs: RunInputs,
    plugins: Plugins,
    *,
    checkpoint: Path | None = None,
    rate_factor: float = 1.0,
    compute: Mapping[str, Any] | None = None,
) -> RunComponents:
    """Load the model and everything that samples, scores and learns with it; to be closed.

    Args:
        config: the run.
        inputs: what it is about.
        plugins: where the loss, the advantage estimator and the engine come from.
        checkpoint: continue from this folder; None starts from the run's model.
        rate_factor: multiplies the learning rate.
        compute: how the models are computed, as a manifest has it; None chooses that. Any: JSON values.

    Raises:
        ModelError: the model or the template cannot be used.
        PluginError: the workers cannot load a reward.
        EngineError: the engine does not start.
    """
    tokenizer = load_tokenizer(config.model.name if checkpoint is None else str(checkpoint))
    require_fitting_teacher(config, tokenizer)
    renderers, suite_renderers = _renderers(config, inputs, plugins, tokenizer)
    order = _order(config, inputs, checkpoint)
    ranks = all_ranks()
    with ExitStack() as started:
        device = run_device(config.model.device)
        rewards = RewardScorer(
            inputs.rewards, config.scoring, inputs.suites, device=str(device), of_tasks=TaskRewards.of_run(config)
        )
        started.enter_context(closing(rewards))
        choice = run_choice(config, config.model.name if checkpoint is None else str(checkpoint), device, compute)
        learning = _learning(ranks, config, plugins, checkpoint, rate_factor, choice.compute)
        learner = CalledLearner(ranks, learning)
        timer = PhaseTimer()
        engine: Engine = started.enter_context(closing(_engine(config, plugins, learning, ranks)))
        if config.rollout.async_steps > 1:
            engine = started.enter_context(closing(SharedEngine(engine, timer)))
        engine.load_weights(learner.weights(), learner.policy_version)
        teacher = open_teacher(config, tokenizer, ranks, choice.compute)
        if teacher is not None:
            started.enter_context(closing(teacher))
        scorer = AdjustedScorer(rewards, tuple(_adjustments(config, learning.initial, ranks, teacher)))
        components = RunComponents(
            tokenizer=tokenizer,
            engine=engine,
            rewards=rewards,
            learner=learner,
            critic=learning.critic,
            policy=CalledLogprobs(ranks=ranks, target="policy", temperature=config.rollout.temperature),
            step=StepComponents(
                credit=_credit(config, plugins, learning, ranks),
                learner=learner,
                engine=engine,
                timer=timer,
            ),
            sampler=_sampler(config, order, environment_of(config, renderers.__getitem__), engine, scorer),
            suite_renderers=suite_renderers,
            num_ranks=num_ranks(),
            strategy=learning.strategy.name,
            device=device,
            choice=choice,
            teacher=teacher,
            teacher_model=learning.teacher,
        )
        started.pop_all()  # from here on, whoever has the components closes them
    return components


def _learning(
    ranks: Ranks,
    config: RunConfig,
    plugins: Plugins,
    checkpoint: Path | None,
    rate_factor: float,
    compute: Compute,
) -> Learning:
    """Have every rank load the models and what learns with them; of several, each looks up plugins of its own."""
    is_alone = num_ranks() == 1
    place = checkpoint if checkpoint is None or is_alone else checkpoint.absolute()
    built: Learning = ranks.call("builder", "build", config, plugins if is_alone else None, place, rate_factor, compute)
    return built


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


def _credit(config: RunConfig, plugins: Plugins, learning: Learning, ranks: Ranks) -> Credit:
    """Return what compares trajectories."""
    return Credit(
        estimator=plugins.function("advantages", config.algorithm.advantage),
        truncated=config.algorithm.truncated,
        decode=lambda token_ids: str(learning.tokenizer.decode(token_ids)),
        predict=partial(ranks.call, "critic", "predict") if learning.critic else None,
        teacher=teacher_credit(config),
    )


def _engine(config: RunConfig, plugins: Plugins, learning: Learning, ranks: Ranks) -> Engine:
    """Return the run's engine. One with weights of its own has arbitrary ones until the learner's are loaded."""
    engine = _shared_engine(ranks, learning)
    if engine is None:
        inputs = learning.engine_inputs(config)
        engine = plugins.call("engines", config.rollout.engine, inputs)
    if engine.shares_weights and config.rollout.async_steps:
        raise ConfigError(
            f"rollout.async_steps is {config.rollout.async_steps}, but engine {config.rollout.engine.name!r} samples "
            "from the module that is being trained: use another engine, or rollout.async_steps: 0."
        )
    if engine.shares_weights and learning.strategy.name == "fsdp2" and not isinstance(engine, SpreadEngine):
        raise ConfigError(
            f"learner.parallel.strategy is fsdp2, so that no rank has the whole model, but engine "
            f"{config.rollout.engine.name!r} samples from the module that is being trained: use rollout.engine: local, "
            "vllm_server or vllm, or learner.parallel.strategy: ddp."
        )
    return GuardedEngine(engine, config.rollout.engine.name, config.plugins.timeout_s)


def _shared_engine(ranks: Ranks, learning: Learning) -> Engine | None:
    """Return the embedded engine, which samples on all ranks; None where the run has another."""
    sampler: RankSampler | None = ranks.objects.get("sampler")
    if sampler is None:
        return None
    if learning.strategy.name == "single":
        return sampler.engine
    return SpreadEngine(sampler, partial(ranks.call, "sampler", "sample"))


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


def _adjustments(
    config: RunConfig, initial: InitialPolicy, ranks: Ranks, teacher: OpenedTeacher | None
) -> Iterator[Adjustment]:
    """Yield what the method takes off the rewards, and what a teacher says beside them."""
    algorithm = config.algorithm
    if teacher is not None:
        yield TeacherScoring(teacher=teacher)
    if algorithm.overlong_window is not None:
        yield OverlongPenalty(config.rollout.max_new_tokens, algorithm.overlong_window)
    if (reference := initial.for_use_in("reward") or initial.for_use_in("metrics")) is not None:
        yield KLPenalty(
            reference=CalledLogprobs(ranks=ranks, target="reference", temperature=reference.temperature),
            controller=initial.controller,
            microbatch_tokens=config.learner.microbatch_tokens,
            is_charged=initial.used_in == "reward",
        )
    if algorithm.truncated == "drop":
        yield drop_truncated
