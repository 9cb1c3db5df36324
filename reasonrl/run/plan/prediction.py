"""What a run is expected to take, from what one step and one evaluation of it took."""

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from reasonrl.config.settings import RunConfig
from reasonrl.run.attempt import Schedule
from reasonrl.run.plan.estimates import WRITTEN_PER_S, Estimate, Measured, times_line
from reasonrl.run.plan.evaluation import EvaluationProbe
from reasonrl.run.plan.memory import StepSize, memory_parts
from reasonrl.run.plan.probe import Probe
from reasonrl.system.memory import peak_memory

if TYPE_CHECKING:
    from reasonrl.run.build import RunComponents


def prediction(
    config: RunConfig,
    components: "RunComponents",
    step: Probe,
    evaluation: EvaluationProbe,
    *,
    startup_s: float,
) -> Measured:
    """Return time and memory of a run.

    Args:
        config: the run.
        components: that were measured with; their memory is what they have come to need.
        step: one step.
        evaluation: one evaluation of all suites.
        startup_s: time until the components were there.
    """
    seconds = {
        "startup": Estimate.of(startup_s + step.warm_up_s),
        "steps": step_seconds(config, step).times(config.run.steps),
        "evaluations": _evaluation_seconds(config, step, evaluation),
        "checkpoints": Estimate.of(_checkpoint_seconds(config, components)),
    }
    return Measured(
        seconds=seconds,
        memory=_memory(config, components, step),
        device_memory=_device_memory(components),
        bound=f" with completions of {step.lengths.limit:.0f} tokens that all teach",
    )


def phase_seconds(config: RunConfig, step: Probe) -> Mapping[str, Estimate]:
    """Return the time of each phase of a step."""
    samplings, most_samplings = _samplings(config, step.useful_expected), 1 + config.algorithm.refill_attempts
    lengths, count = step.lengths, config.rollout.prompts_per_step * config.rollout.samples_per_prompt
    more = step.per_token_s * count
    per_longest = (step.sampling_s - more * lengths.mean) / lengths.longest
    # Where completions become shorter, the longest does too; where they become longer, it is what it was.
    shrinking_s = step.sampling_s * lengths.growth
    growing_s = step.sampling_s + more * (lengths.expected - lengths.mean)
    sampling = Estimate(
        samplings * (shrinking_s if lengths.growth < 1 else growing_s),
        most_samplings * lengths.limit * (per_longest + more),
    )
    scoring = Estimate(samplings * step.scoring_s * lengths.growth, most_samplings * step.scoring_s * _most(step))
    share = min(1.0, samplings * step.useful_expected) / step.useful_expected
    most_learning = step.learning_s / step.useful_expected * lengths.limit / lengths.expected
    return {
        "sampling": sampling,
        "scoring": scoring,
        "learning": Estimate(share * step.learning_s, most_learning),
        "weight sync": Estimate.of(step.weight_sync_s),
        "recording": Estimate(step.recording_s * lengths.growth, step.recording_s * _most(step)),
    }


def step_seconds(config: RunConfig, step: Probe) -> Estimate:
    """Return the time of a step; where sampling runs ahead, the longer of the two sides is what it takes."""
    phases = phase_seconds(config, step)
    sampled = Estimate.total([phases["sampling"], phases["scoring"]])
    learned = Estimate.total([phases["learning"], phases["weight sync"], phases["recording"]])
    if config.rollout.async_steps:
        return Estimate(max(sampled.expected, learned.expected), max(sampled.most, learned.most))
    return Estimate.total([sampled, learned])


def time_lines(config: RunConfig, components: "RunComponents", step: Probe, measured: Measured) -> Iterator[str]:
    """Say where the time goes, and what it was measured on."""
    phases, lengths = phase_seconds(config, step), step.lengths
    listed = ", ".join(f"{name} {each.expected:.2f}" for name, each in phases.items())
    yield (
        f"step       about {step_seconds(config, step).expected:.2f} s ({listed}); measured on {step.num_measured} "
        f"completions, {components.device}"
    )
    yield (
        f"lengths    {lengths.mean:.0f} tokens a completion now, the longest {lengths.longest}; they change while the "
        f"model learns: {lengths.expected:.0f} are expected, {lengths.limit:.0f} are the most"
    )
    yield (
        f"learned    {step.useful:.0%} of the completions have a loss now; {step.useful_expected:.0%} are expected, "
        "100% are the most"
    )
    yield times_line(measured.seconds)


def _samplings(config: RunConfig, useful: float) -> float:
    """Return how often a step is sampled where groups that teach nothing are replaced: all of it first, then those."""
    return sum((1 - useful) ** attempt for attempt in range(1 + config.algorithm.refill_attempts))


def _most(step: Probe) -> float:
    """Return the limit of completions, as a multiple of what they have now."""
    return step.lengths.limit / step.lengths.mean


def _schedule(config: RunConfig) -> Schedule:
    return Schedule(config.run.steps, config.evaluation.every, config.run.checkpoint_every)


def _evaluation_seconds(config: RunConfig, step: Probe, evaluation: EvaluationProbe) -> Estimate:
    """Return the time of all evaluations: of the model as it is before the first step, of a changed one after that."""
    schedule = _schedule(config)
    later = sum(schedule.evaluates_after(number) for number in range(1, config.run.steps + 1))
    return Estimate(
        evaluation.seconds + later * evaluation.after(step.lengths.growth),
        evaluation.seconds + later * evaluation.after(evaluation.most_growth),
    )


def _checkpoint_seconds(config: RunConfig, components: "RunComponents") -> float:
    """Return the time of all checkpoints: the weights and the optimizer's state."""
    size = StepSize.at_limit(config, 0)
    parts = memory_parts(config, components, size)
    saved = sum(_schedule(config).saves_after(number) for number in range(1, config.run.steps + 1))
    return saved * sum(parts.get(name, 0.0) for name in ("weights", "optimizer", "critic")) / WRITTEN_PER_S


def _memory(config: RunConfig, components: "RunComponents", step: Probe) -> Estimate:
    """Return what is resident after a step, with what a whole one needs beyond the part of it that was learned from."""
    prompt, lengths, expected = step.longest_prompt, step.lengths, round(step.lengths.expected)
    learned = round(step.num_measured * step.useful_expected)
    whole = config.rollout.prompts_per_step * config.rollout.samples_per_prompt
    sizes = (
        StepSize(learned, prompt, expected, lengths.longest),
        StepSize(round(whole * step.useful_expected), prompt, expected, lengths.longest),
        StepSize.at_limit(config, prompt),
    )
    of_measured, of_expected, of_most = (sum(memory_parts(config, components, size).values()) for size in sizes)
    now = peak_memory(os.getpid()) or 0
    if components.device.type == "cuda":
        return Estimate.of(now)
    return Estimate(now + max(0.0, of_expected - of_measured), now + max(0.0, of_most - of_measured))


def _device_memory(components: "RunComponents") -> Estimate | None:
    """Return the most that was reserved on the GPU."""
    import torch

    if components.device.type != "cuda":
        return None
    return Estimate.of(torch.cuda.max_memory_reserved(components.device))
