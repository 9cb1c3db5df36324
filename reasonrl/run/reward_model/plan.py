"""What the training of a reward model would do and cost, before it does anything: nothing is written."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from reasonrl.config.reward_model import RewardModelConfig, SampledPairs
from reasonrl.config.runfile import dump_run
from reasonrl.errors import DataError, ModelError, UnreachableError
from reasonrl.models import is_remote
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.data import PreferenceData
from reasonrl.run.check import check_model
from reasonrl.run.plan import GIB, activation_bytes
from reasonrl.run.reward_model.data import load_reward_model_data

if TYPE_CHECKING:
    from reasonrl.preference.trainer import RewardModelTrainer

PROBE_PROBLEMS = 48
"""Problems that completions are sampled for, where the run samples its data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What of a run this machine could load."""

    data: PreferenceData | None
    trainer: "RewardModelTrainer | None"
    scale: float
    """The run's problems, as a multiple of those that were sampled; 1 where all of the data was loaded."""
    heldout_share: float
    """The run's; of few sampled problems half are held out, so that neither side is empty."""
    sampling_s: float
    """Time that loading them took."""
    num_steps: int = 0
    """Steps of the run; 0 where that is not known."""

    def count(self, side: str, of: str = "") -> int:
        """Return how many examples a side will have, or how many prompts (``_prompts``)."""
        assert self.data is not None
        counts = self.data.summary
        if self.scale == 1:
            return counts[side + of]
        share = self.heldout_share if side == "heldout" else 1 - self.heldout_share
        return round(self.scale * share * (counts[f"train{of}"] + counts[f"heldout{of}"]))


def plan_reward_model(config: RewardModelConfig, plugins: Plugins) -> str:
    """Return the plan of a run as text.

    A model or data that this machine cannot reach is a warning: a run for another machine can be planned here.

    Raises:
        ReasonRLError: anything else that would stop the run.
    """
    check_model(config)
    warnings: list[str] = []
    probe = _probe(config, plugins, warnings)
    lines = [*dump_run(config).splitlines(), "", f"run        {config.run.root}/{config.name}"]
    if probe.data:
        lines += [*_data_lines(config, probe), *_budget_lines(config, probe)]
    if trainer := probe.trainer:
        lines += [*_length_lines(config, trainer), *_time_lines(config, probe, trainer)]
        lines += _memory_lines(config, trainer)
    warnings += trainer.warnings if trainer else probe.data.warnings if probe.data else ()
    lines += [f"warning    {warning}" for warning in warnings] or ["warnings   none"]
    return "\n".join(lines)


def _probe(config: RewardModelConfig, plugins: Plugins, warnings: list[str]) -> Probe:
    """Load what this machine can reach; note what it cannot."""
    small, scale = _small(config)
    began = perf_counter()
    data = _reachable_data(small, scale, plugins, warnings)
    seconds, share = perf_counter() - began, config.data.heldout_share
    probe = Probe(data=data, trainer=None, scale=scale, heldout_share=share, sampling_s=seconds)
    if data is None:
        return probe
    num_steps = config.run.steps or math.ceil(config.run.epochs * probe.count("train") / config.pairs_per_step)
    trainer = _reachable_trainer(_of_length(small, num_steps, scale), data, plugins, warnings)
    return replace(probe, trainer=trainer, num_steps=trainer.num_steps if trainer else num_steps)


def _reachable_data(
    config: RewardModelConfig, scale: float, plugins: Plugins, warnings: list[str]
) -> PreferenceData | None:
    try:
        return load_reward_model_data(config, plugins, say=_nobody, earlier=None).data
    except DataError as error:
        if scale == 1 and not isinstance(error, UnreachableError):
            raise
        reason = "not checked here" if isinstance(error, UnreachableError) else f"of {PROBE_PROBLEMS} problems"
        warnings.append(f"{reason}: {error}")
    except ModelError as error:
        if config.data.sampled is None or not is_remote(config.data.sampled.model):
            raise
        warnings.append(f"not checked here: {error}")
    return None


def _reachable_trainer(
    config: RewardModelConfig, data: PreferenceData, plugins: Plugins, warnings: list[str]
) -> "RewardModelTrainer | None":
    from reasonrl.preference.trainer import RewardModelTrainer

    try:
        return RewardModelTrainer.build(config, data, plugins)
    except ModelError as error:
        if not is_remote(config.model.name):
            raise
        warnings.append(f"not checked here: {error}")
    return None


def _small(config: RewardModelConfig) -> tuple[RewardModelConfig, float]:
    """Return the run with data sampled for few problems only, and how many times as many it has."""
    sampled = config.data.sampled
    if sampled is None or sampled.num_problems <= PROBE_PROBLEMS:
        return config, 1.0
    fewer = sampled.model_copy(update={"num_problems": PROBE_PROBLEMS})
    data = config.data.model_copy(update={"sampled": fewer, "heldout_share": 0.5})
    return config.model_copy(update={"data": data}), sampled.num_problems / PROBE_PROBLEMS


def _of_length(config: RewardModelConfig, num_steps: int, scale: float) -> RewardModelConfig:
    """Return the run with as many steps as it would have with all of its data."""
    if scale == 1:
        return config
    run = config.run.model_copy(update={"steps": num_steps, "epochs": 1.0})
    return config.model_copy(update={"run": run})


def _nobody(_: str) -> None:
    """Hear what would take long in a run."""


def _data_lines(config: RewardModelConfig, probe: Probe) -> Iterator[str]:
    """Source and sizes, split by prompt."""
    assert probe.data is not None
    about = "about " if probe.scale > 1 else ""
    yield f"data       {probe.data.source}" if config.data.sampled is None else _sampled_line(config.data.sampled)
    for name, side in (("train", "train"), ("held-out", "heldout")):
        examples, prompts = probe.count(side), probe.count(side, "_prompts")
        yield f"{name:<10} {about}{examples} examples of {about}{prompts} {'other ' * (side == 'heldout')}prompts"


def _sampled_line(sampled: SampledPairs) -> str:
    return (
        f"data       {sampled.num_problems} problems of task {sampled.task.name!r} x {sampled.samples_per_prompt} "
        f"completions of {sampled.model} x at most {sampled.max_new_tokens} tokens, labeled by {sampled.gold.key}"
    )


def _budget_lines(config: RewardModelConfig, probe: Probe) -> Iterator[str]:
    """Steps, and how often the model is measured."""
    every, steps = config.evaluation.every, probe.num_steps
    measured = len({0, steps, *range(every, steps, every)})
    yield (
        f"budget     {'about ' * (probe.scale > 1 and config.run.steps is None)}{steps} steps of about "
        f"{config.pairs_per_step} examples, {measured} measurements of the held-out prompts"
    )


def _length_lines(config: RewardModelConfig, trainer: "RewardModelTrainer") -> Iterator[str]:
    """Lengths of what is learned from; what is too long is counted in a warning."""
    lengths = trainer.train_lengths
    yield (
        f"lengths    median {median(lengths):.0f}, longest {max(lengths)} tokens with prompt and end; limit "
        f"{config.data.max_length} (data.max_length), beyond it: {config.data.too_long}"
    )


def _time_lines(config: RewardModelConfig, probe: Probe, trainer: "RewardModelTrainer") -> Iterator[str]:
    """Time of sampling, of a step and of the run; the first step is taken on the loaded model only."""
    if config.data.sampled is not None:
        yield (
            f"sampling   about {probe.scale * probe.sampling_s / 60:.1f} min, once; measured on "
            f"{min(config.data.sampled.num_problems, PROBE_PROBLEMS)} problems"
        )
    metrics = trainer.step(1)
    step_s, tokens = metrics["seconds/step"], metrics["rm/tokens"]
    yield (
        f"time       about {step_s:.1f} s a step, {probe.num_steps * step_s / 60:.1f} min of training; measured on one "
        f"step of {tokens:.0f} tokens, {trainer.facts['device']}"
    )


def _memory_lines(config: RewardModelConfig, trainer: "RewardModelTrainer") -> Iterator[str]:
    """Memory by part: weights, gradients and optimizer exactly, activations by formula, within about 25 %."""
    parts = memory_parts(config, trainer)
    listed = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts.items())
    yield f"memory     about {sum(parts.values()) / GIB:.2f} GiB ({listed})"


def memory_parts(config: RewardModelConfig, trainer: "RewardModelTrainer") -> Mapping[str, float]:
    """Return bytes by part."""
    model, longest = trainer.model, max(trainer.train_lengths)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    trainable = 4 * sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    texts = config.pairs_per_step * (2 if config.objective.kind == "bradley_terry" else 1)
    microbatch = min(max(config.learner.microbatch_tokens, 2 * longest), texts * longest)
    return {
        "weights": weights,
        "gradients": trainable,
        "optimizer": 2 * trainable,
        "activations": microbatch * activation_bytes(model, config.model.gradient_checkpointing),
    }
