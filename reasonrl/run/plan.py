"""What a run would do and cost, before it does anything: nothing is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from reasonrl.config.runfile import dump_run
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ModelError, UnreachableError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.check import check_model
from reasonrl.run.inputs import RunInputs, load_inputs
from reasonrl.types import TrainingSample

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

    from reasonrl.learner.critic import Critic
    from reasonrl.models.compute import Compute
    from reasonrl.run.build import RunComponents

PROBE_PROMPTS = 4
"""Prompts of the probe step."""
GIB = 2**30
MOMENT_BYTES = {"adamw": 4, "adamw_8bit": 1}
"""Bytes of a moment of one parameter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one small step measured."""

    sequences: int
    sampling_s: float
    learning_s: float
    tokens: int
    """Trajectory tokens of the longest kind: every completion was learned at full length."""
    longest_prompt: int


def plan_run(config: RunConfig, plugins: Plugins) -> str:
    """Return the plan of a run as text.

    A model or data that this machine cannot reach is a warning: a run for another machine can be planned here.

    Raises:
        ReasonRLError: anything else that would stop the run.
    """
    check_model(config)
    warnings: list[str] = []
    inputs, components = _reachable(config, plugins, warnings)
    lines = [*_resolved(config), "", f"run        {config.run.root}/{config.name}"]
    lines += _data_lines(config, inputs) if inputs else []
    lines += _budget_lines(config)
    if components is not None and inputs is not None:
        from reasonrl.run.computing import choice_lines

        with closing(components):
            probe = _probe(config, inputs, components)
        lines += choice_lines(components.choice, components.learner.model)
        lines += _time_lines(config, inputs, components, probe)
        lines += _memory_lines(config, components, probe)
        warnings += [*_context_warning(config, components, probe), *components.choice.warnings]
    warnings += inputs.warnings if inputs else []
    lines += [f"warning    {warning}" for warning in warnings] or ["warnings   none"]
    return "\n".join(lines)


def _reachable(
    config: RunConfig, plugins: Plugins, warnings: list[str]
) -> tuple[RunInputs | None, "RunComponents | None"]:
    """Load what this machine can reach; note what it cannot."""
    from reasonrl.models import is_remote

    try:
        inputs = load_inputs(config, plugins)
    except UnreachableError as error:
        warnings.append(f"not checked here: {error}")
        return None, None
    from reasonrl.run.build import build_components
    from reasonrl.run.computing import run_choice
    from reasonrl.run.learning import run_device

    try:
        run_choice(config, config.model.name, run_device(config.model.device), None, again=True)
        return inputs, build_components(config, inputs, plugins)
    except ModelError as error:
        if not is_remote(config.model.name):
            raise
        warnings.append(f"not checked here: {error}")
        return inputs, None


def _resolved(config: RunConfig) -> list[str]:
    importance = config.algorithm.describe_importance(config.rollout.engine.name)
    return [*dump_run(config).splitlines(), "", f"importance {importance}"]


def _data_lines(config: RunConfig, inputs: RunInputs) -> Iterator[str]:
    """Sizes of the data, and whether train and held-out are apart."""
    whole = sum(each.task.weight for each in inputs.tasks)
    for each in inputs.tasks:
        share = each.task.weight / whole
        per_epoch = len(each.problems) / (config.rollout.prompts_per_step * share)
        mixed = f", {share:.1%} of each step" if len(inputs.tasks) > 1 else ""
        yield (
            f"train      {len(each.problems)} problems of task {each.task.label!r}{mixed}, an epoch is {per_epoch:.0f} "
            "steps"
        )
    if config.curriculum is not None:
        yield "curriculum problems that the model always or never solves are passed over, so an epoch may be shorter"
    for suite in inputs.suites:
        yield f"held-out   {suite.name} v{suite.version}: {len(suite.problems)} problems x {suite.num_samples}, " + (
            "greedy" if suite.temperature == 0 else f"temperature {suite.temperature:g}"
        )
        yield f"overlap    {suite.name}: {inputs.overlaps[suite.name].summary}"


def _budget_lines(config: RunConfig) -> Iterator[str]:
    """Steps, completions, and the most tokens they can have."""
    rollout, sequences = config.rollout, config.rollout.prompts_per_step * config.rollout.samples_per_prompt
    updates = config.updates_per_step
    attempts = 1 + config.algorithm.refill_attempts
    whole = sum(task.weight for task in config.tasks)
    tokens = sum(task.weight / whole * task.max_new_tokens for task in config.tasks)
    most = config.run.steps * sequences * tokens * attempts
    refilled = "" if attempts == 1 else f" x at most {attempts} samplings of a step"
    yield (
        f"budget     {config.run.steps} steps x {rollout.prompts_per_step} prompts x {rollout.samples_per_prompt} "
        f"completions x at most {tokens:g} tokens{refilled} = at most {most / 1e6:.2f} M tokens"
    )
    yield f"updates    {updates} a step of {sequences * config.learner.epochs // updates} completions each"
    if ahead := rollout.async_steps:
        oldest = config.max_staleness if ahead > 1 else rollout.max_staleness or updates
        yield (
            f"ahead      sampling runs {ahead} {'step' if ahead == 1 else 'steps'} ahead (async_steps); what is "
            f"learned from is at most {oldest} weight updates old"
        )


def _probe(config: RunConfig, inputs: RunInputs, components: "RunComponents") -> Probe:
    """Sample and learn one small step for real, on the loaded model only."""
    problems = list(inputs.problems[: min(PROBE_PROMPTS, config.rollout.prompts_per_step)])
    began = perf_counter()
    groups = components.sampler.sample(0, problems)
    sampled = perf_counter()
    # Alternating signs: as many completions are computed as in a step in which every group is useful.
    signs = [(group, member, (-1.0) ** index) for group in groups for index, member in enumerate(group.trajectories)]
    _learn(components, [TrainingSample.of(group, member, sign) for group, member, sign in signs])
    return Probe(
        sequences=sum(len(group.trajectories) for group in groups),
        sampling_s=sampled - began,
        learning_s=perf_counter() - sampled,
        tokens=sum(len(c.token_ids) for group in groups for c in group.trajectories),
        longest_prompt=max(len(group.prompt_ids) for group in groups),
    )


def _learn(components: "RunComponents", samples: Sequence[TrainingSample]) -> None:
    """Learn from samples as a step does; a critic, which is asked for its values first, is told that they are wrong."""
    if (critic := components.critic) is not None:
        values = iter(critic.predict(samples))
        critic.update([_with_returns(sample, next(values).tolist()) for sample in samples])
    components.learner.actor.update(samples)


def _with_returns(sample: TrainingSample, chosen_values: Sequence[float]) -> TrainingSample:
    values = iter(chosen_values)
    values_T = tuple(next(values) if chosen else 0.0 for chosen in sample.mask)
    return replace(sample, values_T=values_T, returns_T=tuple(value + 1.0 for value in values_T))


def _time_lines(config: RunConfig, inputs: RunInputs, components: "RunComponents", probe: Probe) -> Iterator[str]:
    """Time of a step and of the run, scaled up from the probe."""
    scale = config.rollout.prompts_per_step * config.rollout.samples_per_prompt / probe.sequences
    step_s = scale * (probe.sampling_s + probe.learning_s)
    yield (
        f"time       about {step_s:.1f} s a step ({scale * probe.sampling_s:.1f} sampling, "
        f"{scale * probe.learning_s:.1f} learning), {config.run.steps * step_s / 60:.0f} min of training; "
        f"measured on {probe.sequences} completions of {probe.tokens / probe.sequences:.0f} tokens, "
        f"{components.device}"
    )


def _memory_lines(config: RunConfig, components: "RunComponents", probe: Probe) -> Iterator[str]:
    """Memory by part: weights, gradients and optimizer exactly, the rest by formula, within about 25 %."""
    parts = memory_parts(config, components, probe.longest_prompt)
    listed = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
    yield f"memory     about {sum(parts.values()) / GIB:.2f} GiB ({listed})"


def memory_parts(config: RunConfig, components: "RunComponents", longest_prompt: int) -> Mapping[str, float]:
    """Return bytes by part; a critic has weights, gradients and an optimizer of its own."""
    from reasonrl.models.fast.head import GROUP_LOGITS, KEPT_LOGITS
    from reasonrl.models.lora import is_base
    from reasonrl.run.computing import takes_fast_path

    model = components.learner.model
    shape = model.config.get_text_config()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    moment = MOMENT_BYTES[config.learner.optimizer]
    critic = 4 * sum(parameter.numel() for parameter in _critic_parameters(components.critic))
    hidden, layers = shape.hidden_size, shape.num_hidden_layers
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    head_size = getattr(shape, "head_dim", None) or hidden // shape.num_attention_heads
    sequences = config.rollout.prompts_per_step * config.rollout.samples_per_prompt
    longest = longest_prompt + config.longest_completion
    compute, is_fast = components.compute, takes_fast_path(components.compute, model)
    cached = min(sequences, compute.rows or sequences) * longest
    microbatch = min(max(config.learner.microbatch_tokens, longest), sequences * longest)
    return {
        "weights": weights,
        "gradients": sum(parameter.nbytes for parameter in trainable),
        "optimizer": 2 * moment * sum(parameter.numel() for parameter in trainable),
        **({"critic": 4 * critic} if critic else {}),
        "reference": weights if config.algorithm.needs_reference and not is_base(config.model.name, model) else 0,
        "cache": 2 * layers * heads * head_size * components.dtype.itemsize * cached,
        "copies": copied_bytes(model, compute) if is_fast else 0,
        "activations": microbatch
        * activation_bytes(model, config.model.gradient_checkpointing, compute.dtype if is_fast else None),
        "logits": 4 * (GROUP_LOGITS + min(KEPT_LOGITS, microbatch * shape.vocab_size)),
    }


def copied_bytes(model: "PreTrainedModel", compute: "Compute") -> int:
    """Return the memory of the weights in the type and layout of products: the learner's copy, and the engine's two.

    Where the weights have that type already there is no copy but the packed one.
    """
    has_type = all(each.dtype == compute.dtype for each in model.parameters() if each.ndim >= 2)
    copies = (0 if has_type else 2) + compute.packed
    return copies * compute.dtype.itemsize * sum(parameter.numel() for parameter in model.parameters())


def activation_bytes(
    model: "PreTrainedModel", gradient_checkpointing: bool, fast_dtype: "torch.dtype | None" = None
) -> int:
    """Return the memory of one token of a micro-batch.

    In transformers' forward pass it is about 16 hidden-size and 4 intermediate-size values a layer. The fast path keeps
    the states before both halves of a layer in float32, and what its products return in their type. With gradient
    checkpointing it is one hidden-size value a layer.

    Args:
        model: that learns.
        gradient_checkpointing: whether it computes activations again in the backward pass.
        fast_dtype: type of products on the fast path; None for transformers' forward pass.
    """
    shape = model.config.get_text_config()
    hidden, inner = shape.hidden_size, getattr(shape, "intermediate_size", None) or 4 * shape.hidden_size
    of_layer = 4 * (16 * hidden + 4 * inner)
    if fast_dtype is not None:
        heads, kv_heads = shape.num_attention_heads, shape.num_key_value_heads
        size = getattr(shape, "head_dim", None) or hidden // heads
        of_layer = 4 * (2 * hidden + heads) + fast_dtype.itemsize * (2 * (heads + kv_heads) * size + 2 * inner)
    total: int = shape.num_hidden_layers * (4 * hidden if gradient_checkpointing else of_layer)
    return total


def _critic_parameters(critic: "Critic | None") -> "Iterable[nn.Parameter]":
    return () if critic is None else critic.model.parameters()


def _context_warning(config: RunConfig, components: "RunComponents", probe: Probe) -> Iterator[str]:
    """Warn when the longest completion cannot fit the model."""
    limit = getattr(components.learner.model.config.get_text_config(), "max_position_embeddings", None)
    needed = probe.longest_prompt + config.longest_completion
    if limit is not None and needed > limit:
        yield f"prompt and completion can have {needed} tokens, more than the model's {limit} positions"
