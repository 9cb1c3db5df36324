"""Turn a run's configuration into its parts: problems, rewards, suites, model, learner, engine."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reasonrl.config import PluginRef, RunConfig
from reasonrl.errors import DataError, PluginError
from reasonrl.evaluation.overlap import Overlap, find_overlap, require_apart
from reasonrl.evaluation.shared_code import shared_functions
from reasonrl.plugins import Plugins, named_arguments
from reasonrl.prompts import Renderer, find_template
from reasonrl.rollouts import DataOrder, Sampler
from reasonrl.scoring import Scorer
from reasonrl.scoring.contract import Reward, load_reward
from reasonrl.scoring.truncation import DropTruncated, OverlongPenalty
from reasonrl.types import Grader, Problem, Suite

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from reasonrl.agreement import Agreement
    from reasonrl.credit import Credit
    from reasonrl.engines import Engine
    from reasonrl.learner import Learner
    from reasonrl.learner.controller import KLController
    from reasonrl.learner.logprobs import LogprobModel
    from reasonrl.loop import Parts

HELDOUT_SEED = 0
"""Seed of held-out problems: the same for every run, so that figures can be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a run is about, without its model: checked before anything heavy is loaded."""

    problems: Sequence[Problem]
    suites: tuple[Suite, ...]
    rewards: tuple[Reward, ...]
    overlaps: Mapping[str, Overlap]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machinery:
    """What samples and learns."""

    tokenizer: "PreTrainedTokenizerBase"
    engine: "Engine"
    scorer: Scorer
    """Runs the rewards."""
    learner: "Learner"
    grader: Grader
    """Scores what was sampled, the penalties of the method included."""
    parts: "Parts"
    renderer: Renderer
    """Makes training prompts."""
    suite_renderers: Mapping[str, Renderer]
    """Make the prompts of each suite."""
    device: "torch.device"
    dtype: "torch.dtype"

    def close(self) -> None:
        """End what runs beside this process, when nothing is sampled or scored any more."""
        with closing(self.engine), closing(self.scorer):
            pass


def gather(config: RunConfig, plugins: Plugins) -> Material:
    """Load problems, suites and rewards, and check that they fit together.

    Raises:
        PluginError: a name or a parameter is wrong.
        DataError: there are no problems, or held-out problems are trained on.
    """
    rewards = load_rewards(config, plugins)
    suites = tuple(load_suite(ref, plugins) for ref in config.evaluation.suites)
    _refuse_repeated_suites(suites)
    problems = load_problems(config.task, plugins)
    overlaps = {suite.name: find_overlap(problems, suite.problems) for suite in suites}
    require_apart(overlaps, config.evaluation.allow_overlap)
    return Material(
        problems=problems,
        suites=suites,
        rewards=rewards,
        overlaps=overlaps,
        warnings=tuple(_warnings(config, suites, rewards, overlaps)),
    )


def load_problems(task: PluginRef, plugins: Plugins, *, split: str = "train", seed: int = 0) -> Sequence[Problem]:
    """Return the problems of one split of a task.

    Raises:
        DataError: there are none, or the task returned something else.
    """
    function = plugins.function("tasks", task)
    problems: Any = function(split=split, seed=seed)
    if not isinstance(problems, Sequence) or any(not isinstance(problem, Problem) for problem in problems):
        raise DataError(f"task {task.name!r}: returned {type(problems).__name__}; a task returns a list of Problem.")
    if not problems:
        raise DataError(f"task {task.name!r}: has no {split} problems; check its params and its data.")
    return problems


def load_suite(ref: PluginRef, plugins: Plugins) -> Suite:
    """Return a held-out suite with its problems."""
    suite: Any = plugins.function("suites", ref)(load=partial(_load_heldout, plugins))
    if not isinstance(suite, Suite):
        raise PluginError(f"suite {ref.name!r}: returned {type(suite).__name__}; a suite function returns a Suite.")
    if not suite.problems:
        raise DataError(f"suite {ref.name!r}: has no problems; check its params and its data.")
    return suite


def _load_heldout(plugins: Plugins, task: str, /, **params: Any) -> Sequence[Problem]:
    """Serve a suite with held-out problems of a task. Any: the parameters are the task's own."""
    ref = PluginRef(name=task, params=params)
    return load_problems(ref, plugins, split="heldout", seed=HELDOUT_SEED)


def load_rewards(config: RunConfig, plugins: Plugins) -> tuple[Reward, ...]:
    """Return the rewards of a run, checked, their parameters bound."""
    return tuple(load_reward(ref, plugins) for ref in config.rewards)


def _refuse_repeated_suites(suites: Sequence[Suite]) -> None:
    """Two suites of one name would write over each other's results."""
    names = [suite.name for suite in suites]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise PluginError(f"evaluation.suites: {', '.join(repeated)} is measured more than once; keep one of them.")


def _warnings(
    config: RunConfig,
    suites: Sequence[Suite],
    rewards: Sequence[Reward],
    overlaps: Mapping[str, Overlap],
) -> list[str]:
    """Say what a reader of the run's figures should know."""
    found = [] if suites else ["no held-out suite: the run cannot show whether it learnt (evaluation.suites)"]
    limit, updates = config.rollout.max_staleness, config.updates_per_step
    if limit is not None and limit < updates:
        found.append(
            f"rollout.max_staleness is {limit}, but a step makes up to {updates} weight updates: what is sampled while "
            f"one makes more than {limit} is thrown away"
        )
    for suite in suites:
        if overlaps[suite.name].matches:
            reason = config.evaluation.allow_overlap
            found.append(f"suite {suite.name!r}: {overlaps[suite.name].verdict}; allowed because: {reason}")
        if suite.template != config.template:
            found.append(f"suite {suite.name!r} uses template {suite.template!r}, training uses {config.template!r}")
        for reward in rewards:
            if shared := shared_functions(suite.metric, reward.source):
                public = [name for name in shared if "._" not in name] or shared
                found.append(f"the metric of {suite.name!r} and reward {reward.name!r} share {', '.join(public)}")
    return found


def build(
    config: RunConfig,
    material: Material,
    plugins: Plugins,
    *,
    checkpoint: Path | None = None,
    rate_factor: float = 1.0,
) -> Machinery:
    """Load the model and everything that samples, scores and learns with it; to be closed.

    Args:
        config: the run.
        material: what it is about.
        plugins: where the loss and the advantage estimator come from.
        checkpoint: continue from this folder; None starts from the run's model.
        rate_factor: multiplies the learning rate.

    Raises:
        ModelError: the model or the template cannot be used.
        PluginError: the workers cannot load a reward.
        EngineError: the engine does not start.
    """
    from reasonrl.hardware import compute_dtype, find_device, keep_freed_memory
    from reasonrl.learner.controller import KLController
    from reasonrl.loop import Parts
    from reasonrl.models.load import load_model, load_tokenizer
    from reasonrl.models.lora import prepare_adapter

    keep_freed_memory()
    device = find_device(config.model.device)
    name = config.model.name if checkpoint is None else str(checkpoint)
    tokenizer = load_tokenizer(name)
    templates = {suite.name: find_template(suite.template) for suite in material.suites}
    renderer = Renderer(tokenizer, find_template(config.template))
    with ExitStack() as started:
        scorer = started.enter_context(closing(Scorer(material.rewards, config.scoring)))
        model = load_model(name, device, gradient_checkpointing=config.model.gradient_checkpointing)
        prepare_adapter(model, config.model.lora, seed=config.seed)
        dtype = compute_dtype(config.model.compute_dtype, device, model.config.get_text_config().hidden_size)
        initial = _Initial(_reference(config, model, dtype), KLController(config.algorithm), config.algorithm.kl_in)
        learner = _learner(config, plugins, model, dtype, initial, rate_factor)
        _take_up(config, learner, checkpoint)
        engine = started.enter_context(closing(_engine(config, learner, tokenizer, dtype)))
        engine.load(learner.weights(), learner.policy_version)
        machinery = Machinery(
            tokenizer=tokenizer,
            engine=engine,
            scorer=scorer,
            learner=learner,
            grader=_grader(config, scorer, initial),
            parts=Parts(credit=_credit(config, plugins), learner=learner, engine=engine),
            renderer=renderer,
            suite_renderers={name: Renderer(tokenizer, template) for name, template in templates.items()},
            device=device,
            dtype=dtype,
        )
        started.pop_all()  # from here on, whoever has the machinery closes it
    return machinery


@dataclass(frozen=True, slots=True)
class _Initial:
    """The initial policy, where the method looks back at it."""

    reference: "LogprobModel | None"
    controller: "KLController"
    used_in: Literal["reward", "loss"]

    def where(self, place: Literal["reward", "loss"]) -> "LogprobModel | None":
        """Return the initial policy if the divergence from it is taken there."""
        return self.reference if self.used_in == place else None


def _reference(config: RunConfig, policy: "PreTrainedModel", dtype: "torch.dtype") -> "LogprobModel | None":
    """Return the initial policy, where a divergence from it is asked for: the policy without its adapter, or a copy."""
    if not config.algorithm.kl_coefficient:
        return None
    from reasonrl.learner.logprobs import LogprobModel, output_head
    from reasonrl.models.load import load_model
    from reasonrl.models.lora import is_base

    within = is_base(config.model.name, policy)
    model = policy if within else load_model(config.model.name, policy.device)
    return LogprobModel(model, output_head(model), dtype, config.rollout.temperature, without_adapter=within)


def _learner(
    config: RunConfig,
    plugins: Plugins,
    model: "PreTrainedModel",
    dtype: "torch.dtype",
    initial: _Initial,
    rate_factor: float,
) -> "Learner":
    """Return what updates the model."""
    from reasonrl.learner import Learner

    return Learner(
        model,
        config,
        loss=plugins.function("losses", config.algorithm.loss),
        dtype=dtype,
        reference=initial.where("loss"),
        controller=initial.controller,
        rate_factor=rate_factor,
    )


def _engine(
    config: RunConfig, learner: "Learner", tokenizer: "PreTrainedTokenizerBase", dtype: "torch.dtype"
) -> "Engine":
    """Start what samples. One with weights of its own has any, until it is given the learner's."""
    model = learner.model
    if config.rollout.engine == "local":
        from reasonrl.engines.local import LocalEngine

        return LocalEngine(model, tokenizer, dtype)
    from reasonrl.engines.adapter import Adapter
    from reasonrl.engines.tokens import end_token_ids
    from reasonrl.engines.vllm import VLLMEngine
    from reasonrl.engines.vllm_server import VLLMServerEngine
    from reasonrl.models.lora import adapter_of

    kind = VLLMEngine if config.rollout.engine == "vllm" else VLLMServerEngine
    ends, found = end_token_ids(model, tokenizer), adapter_of(model)
    adapter = Adapter(config=found, names=frozenset(name for name, _ in learner.weights())) if found else None
    return kind(model.config, tokenizer, ends, config.vllm, dtype=dtype, device=model.device, adapter=adapter)


def _take_up(config: RunConfig, learner: "Learner", checkpoint: Path | None) -> None:
    """Begin at a checkpoint, or at the seed of the run."""
    from reasonrl.learner.rng import restore_rng, seed_rng

    if checkpoint is None:
        return seed_rng(config.seed)
    learner.restore(checkpoint)
    return restore_rng(checkpoint)


def _credit(config: RunConfig, plugins: Plugins) -> "Credit":
    """Return what compares completions with one another."""
    from reasonrl.credit import Credit

    return Credit(
        estimator=named_arguments(plugins.function("advantages", config.algorithm.advantage)),
        truncated=config.algorithm.truncated,
    )


def sampler(config: RunConfig, material: Material, machinery: Machinery) -> Sampler:
    """Return what samples and scores the steps of a run."""
    return Sampler(
        order=DataOrder(material.problems, config.seed),
        renderer=machinery.renderer,
        engine=machinery.engine,
        grader=machinery.grader,
        settings=config.rollout,
        seed=config.seed,
    )


def agreement(config: RunConfig, material: Material, machinery: Machinery) -> "Agreement | None":
    """Return what compares engine and learner on the run's own prompts; None where they share their weights."""
    if machinery.engine.shares_weights:
        return None
    import torch

    from reasonrl.agreement import PROMPTS, SEEDS, TOKENS, Agreement
    from reasonrl.engines import Request, SamplingParams

    rollout, dtype = config.rollout, config.vllm.dtype
    prompts = [machinery.renderer.render(problem)[1] for problem in material.problems[:PROMPTS]]
    return Agreement(
        engine=machinery.engine,
        learner=machinery.learner,
        requests=tuple(Request(prompt_ids=ids, seeds=SEEDS) for ids in prompts),
        params=SamplingParams(
            max_new_tokens=min(TOKENS, rollout.max_new_tokens),
            temperature=rollout.temperature,
            timeout_s=rollout.timeout_s,
        ),
        engine_dtype=machinery.dtype if dtype == "auto" else getattr(torch, dtype),
        learner_dtype=machinery.dtype,
    )


def _grader(config: RunConfig, scorer: Scorer, initial: _Initial) -> Grader:
    """Return what scores: the rewards, then what the method takes off."""
    grader: Grader = scorer
    algorithm, budget = config.algorithm, config.learner.microbatch_tokens
    if algorithm.overlong_window is not None:
        grader = OverlongPenalty(grader, config.rollout.max_new_tokens, algorithm.overlong_window)
    if (reference := initial.where("reward")) is not None:
        from reasonrl.learner.penalty import KLPenalty

        grader = KLPenalty(grader=grader, reference=reference, controller=initial.controller, microbatch_tokens=budget)
    return DropTruncated(grader) if algorithm.truncated == "drop" else grader
