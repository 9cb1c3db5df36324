"""What the training of a reward model would do and cost, before it does anything: nothing is written."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Final

from reasonrl.config.reward_model import RewardModelConfig, SampledPairs
from reasonrl.config.runfile import dump_run
from reasonrl.errors import DataError, ModelError, UnreachableError
from reasonrl.models import is_remote
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.data import PreferenceData
from reasonrl.run.attempt import Schedule
from reasonrl.run.check import check_model
from reasonrl.run.lineage import resolve_model
from reasonrl.run.plan.estimates import (
    OPENING_S,
    WRITTEN_PER_S,
    Estimate,
    Measured,
    Plan,
    memory_line,
    on_line,
    times_line,
)
from reasonrl.run.plan.memory import activation_bytes
from reasonrl.run.reward_model.data import load_reward_model_data
from reasonrl.system.memory import peak_memory

if TYPE_CHECKING:
    from reasonrl.preference.trainer import RewardModelTrainer

PROBE_PROBLEMS: Final = (32, 96)
"""Problems that completions are sampled for, where the run samples its data: a line through both leaves out what only
the first of them take."""

PROBE_STEPS: Final = 4
"""Steps that are taken after one that warms up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What of a run this machine could load."""

    data: PreferenceData | None
    trainer: "RewardModelTrainer | None"
    scale: float
    """The run's problems, as a multiple of those that were sampled; 1 where all of the data was loaded."""
    heldout_share: float
    """The run's; of few sampled problems half are held out, so that neither side is empty."""
    loading_s: float
    """Time that loading or sampling all of the run's data takes."""
    opening_s: float = 0.0
    """Time that loading the model and encoding the data took."""
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


def plan_reward_model(config: RewardModelConfig, plugins: Plugins) -> Plan:
    """Return the plan of a run, its first steps taken and its held-out pairs measured on the loaded model.

    A model or data that this machine cannot reach is a warning: a run for another machine can be planned here.

    Raises:
        ReasonRLError: anything else that would stop the run.
    """
    config = resolve_model(config, plugins)
    check_model(config)
    path = f"{config.run.root}/{config.name}"
    warnings: list[str] = []
    probe = _probe(config, plugins, warnings)
    lines = [*dump_run(config).splitlines(), "", f"run        {path}"]
    if probe.data:
        lines += [*_data_lines(config, probe), *_budget_lines(config, probe)]
    trainer = probe.trainer
    warnings += trainer.warnings if trainer else probe.data.warnings if probe.data else ()
    plan = Plan(path=path, steps=probe.num_steps, lines=tuple(lines), warnings=tuple(warnings))
    return _measured(plan, config, probe, trainer) if trainer else plan


def _measured(plan: Plan, config: RewardModelConfig, probe: Probe, trainer: "RewardModelTrainer") -> Plan:
    """Return a plan with what the run is expected to take."""
    steps, parts = _probe_steps(trainer), memory_parts(config, trainer)
    seconds = _seconds(config, probe, steps, parts)
    measured = Measured(seconds=seconds, memory=Estimate.of(peak_memory(os.getpid()) or 0))
    step = (
        f"step       about {steps.step_s:.2f} s; measured on steps of {steps.tokens:.0f} tokens, "
        f"{trainer.facts['device']}"
    )
    lines = [*plan.lines, *_length_lines(config, trainer), step, times_line(seconds), memory_line(parts)]
    return replace(plan, lines=tuple(lines), measured=measured, parts=parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What steps and a measurement of the held-out pairs took."""

    opening_s: float
    """What the first of them take longer than others."""
    step_s: float
    tokens: float
    scores_s: float
    """Scores of all held-out pairs."""
    statistics_s: float
    """What a measurement takes beyond them."""


def _probe_steps(trainer: "RewardModelTrainer") -> Steps:
    """Take a few steps, and measure the held-out pairs, all of it once before it counts."""
    first, *others = [_probe_step(trainer, step) for step in range(1, min(1 + PROBE_STEPS, trainer.num_steps) + 1)]
    step_s, tokens, measured_s, statistics_s = (median(values) for values in zip(*(others or [first]), strict=True))
    return Steps(
        opening_s=max(0.0, first[0] + first[2] - step_s - measured_s),
        step_s=step_s,
        tokens=tokens,
        scores_s=max(0.0, measured_s - statistics_s),
        statistics_s=statistics_s,
    )


def _probe_step(trainer: "RewardModelTrainer", step: int) -> tuple[float, float, float, float]:
    """Take a step and measure twice: the second time the scores are there. Return the times, the tokens second."""
    metrics = trainer.step(step)
    began = perf_counter()
    trainer.evaluate()
    measured = perf_counter()
    trainer.evaluate()
    return metrics["seconds/step"], metrics["rm/tokens"], measured - began, perf_counter() - measured


def _seconds(
    config: RewardModelConfig, probe: Probe, steps: Steps, parts: Mapping[str, float]
) -> Mapping[str, Estimate]:
    """Return the time by part of the run; the scores of the training texts that end it are those of the finished model.

    A pair that is measured has two completions, and of one that was learned from the better one is scored at the end.
    """
    assert probe.data is not None
    schedule = Schedule(probe.num_steps, config.evaluation.every, config.run.checkpoint_every)
    numbers = range(1, probe.num_steps + 1)
    measured = 1 + sum(map(schedule.evaluates_after, numbers))
    saved = sum(map(schedule.saves_after, numbers))
    per_pair_s = steps.scores_s / max(1, probe.data.summary["heldout"])
    learned = min(probe.count("train"), probe.num_steps * config.pairs_per_step)
    seconds = {
        "startup": OPENING_S + probe.opening_s + steps.opening_s,
        "data": probe.loading_s,
        "steps": probe.num_steps * steps.step_s,
        "measurements": measured * (steps.statistics_s + probe.count("heldout") * per_pair_s),
        "checkpoints": (saved * sum(parts[name] for name in ("weights", "optimizer")) + parts["weights"])
        / WRITTEN_PER_S,
        "scales": learned / 2 * per_pair_s,
    }
    return {name: Estimate.of(value) for name, value in seconds.items()}


def _probe(config: RewardModelConfig, plugins: Plugins, warnings: list[str]) -> Probe:
    """Load what this machine can reach; note what it cannot."""
    small, probe = _probe_data(config, plugins, warnings)
    if probe.data is None:
        return probe
    num_steps = config.run.steps or math.ceil(config.run.epochs * probe.count("train") / config.pairs_per_step)
    began = perf_counter()
    trainer = _reachable_trainer(_of_length(small, num_steps, probe.scale), probe.data, plugins, warnings)
    opened = replace(probe, trainer=trainer, opening_s=perf_counter() - began)
    return replace(opened, num_steps=trainer.num_steps if trainer else num_steps)


def _probe_data(config: RewardModelConfig, plugins: Plugins, warnings: list[str]) -> tuple[RewardModelConfig, Probe]:
    """Load the data, or sample a part of it; return the run with that data too.

    The first time warms up: what it takes longer than the same again is counted once.
    """
    seconds: list[float] = []
    for problems in (PROBE_PROBLEMS[0], *PROBE_PROBLEMS):
        small, scale = _small(config, problems)
        began = perf_counter()
        data = _reachable_data(small, scale, plugins, warnings)
        seconds.append(perf_counter() - began)
        if data is None or config.data.sampled is None or scale == 1:
            loading_s = seconds[0]
            break
    else:
        cold_s, first_s, second_s = seconds
        loading_s = cold_s - first_s + on_line(first_s, second_s, *PROBE_PROBLEMS, scale * problems)
    share = config.data.heldout_share
    return small, Probe(data=data, trainer=None, scale=scale, heldout_share=share, loading_s=loading_s)


def _reachable_data(
    config: RewardModelConfig, scale: float, plugins: Plugins, warnings: list[str]
) -> PreferenceData | None:
    try:
        return load_reward_model_data(config, plugins, say=_nobody, earlier=None).data
    except DataError as error:
        if scale == 1 and not isinstance(error, UnreachableError):
            raise
        is_unreachable = isinstance(error, UnreachableError)
        reason = "not checked here" if is_unreachable else f"of at most {PROBE_PROBLEMS[1]} problems"
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


def _small(config: RewardModelConfig, problems: int) -> tuple[RewardModelConfig, float]:
    """Return the run with data sampled for few problems only, and how many times as many it has."""
    sampled = config.data.sampled
    if sampled is None or sampled.num_problems <= PROBE_PROBLEMS[1]:
        return config, 1.0
    fewer = sampled.model_copy(update={"num_problems": problems})
    data = config.data.model_copy(update={"sampled": fewer, "heldout_share": 0.5})
    return config.model_copy(update={"data": data}), sampled.num_problems / problems


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
