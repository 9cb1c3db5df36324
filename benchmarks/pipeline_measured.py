"""What a finished run says of its own pipeline: rates, lengths, and how fast it was, for `pipeline_simulator.py`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
from pipeline_model import Cpus, InBatches, LearnerRates, Pipeline, Simulation
from pipeline_sampler import Draw, SamplerRates
from scipy.optimize import nnls
from tokenizers import Tokenizer

from reasonrl.errors import RunError
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.files.rollouts import RolloutRecord

ALONE: Final = Cpus()
PASSES: Final = 3
"""What learning from a token costs against computing it: forward, and twice as much backward."""
MIN_STEPS: Final = 4
"""Fewest steps after the first that rates are computed from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """A run as the simulator sees it."""

    pipeline: Pipeline
    """What it took, and how it was set up."""
    steps: tuple[tuple[Draw, ...], ...]
    """The problems of every step after the first."""
    steps_per_hour: float
    """By ``seconds/step``, so without evaluations and checkpoints."""
    staleness_mean: float
    staleness_max: float

    @property
    def draws(self) -> list[Draw]:
        """The problems of all steps, in order."""
        return [draw for step in self.steps for draw in step]


def read_run(path: Path, cpus: Cpus = ALONE) -> MeasuredRun:
    """Read a run with ``rollout.async_steps`` of 0 or 1, whose steps are sampled one batch at a time.

    Args:
        path: the run directory.
        cpus: what the run had, where it had no devices.

    Raises:
        RunError: the run is too short, or its batches overlap.
    """
    run = RunDirectory.open(path)
    rollout: Mapping[str, Any] = run.config.model_dump()["rollout"]  # Any: settings
    lines = [line for line in run.read_metrics() if "seconds/step" in line][1:]  # the first step warms up
    if len(lines) < MIN_STEPS:
        raise RunError(f"{path}: has {len(lines)} steps after the first; rates need {MIN_STEPS} or more.")
    if rollout["async_steps"] > 1:
        raise RunError(
            f"{path}: rollout.async_steps is {rollout['async_steps']}, so no time is that of one batch: read a run "
            "with 0 or 1, and predict others with --depths."
        )
    prompts = _PromptLengths(run)
    steps = tuple(_draws(run.read_rollouts(line["step"]), prompts) for line in lines)
    alone = cpus.speed(rest=1)
    learner = _learner(lines, steps, alone)
    pipeline = Pipeline(
        sampler=sampler_rates(
            steps,
            [line["seconds/sampling"] for line in lines],
            samplers=_num_samplers(run),
            slots=int(run.config.model_dump()["vllm"]["max_num_seqs"]),
            prefill_s=learner.token_s / PASSES,
            cpus=cpus,
        ),
        learner=learner,
        samplers=_num_samplers(run),
        push_s=alone * fmean(line["seconds/weight_sync"] for line in lines),
        scoring_s=alone * fmean(line["seconds/scoring"] / line["groups/count"] for line in lines),
        groups_per_step=round(fmean(map(len, steps))),
        async_steps=rollout["async_steps"],
        max_staleness=rollout["max_staleness"],
        cpus=cpus,
    )
    return MeasuredRun(pipeline=pipeline, steps=steps, **measured_speed(run))


def measured_speed(run: RunDirectory) -> dict[str, float]:
    """Return steps an hour and staleness of the steps after the first."""
    lines = [line for line in run.read_metrics() if "seconds/step" in line][1:]
    return {
        "steps_per_hour": 3600 / fmean(line["seconds/step"] for line in lines),
        "staleness_mean": fmean(line.get("staleness/mean", 0.0) for line in lines),
        "staleness_max": max(line.get("staleness/max", 0.0) for line in lines),
    }


class _PromptLengths:
    """Counts the tokens of prompts with the tokenizer of the run's last checkpoint."""

    def __init__(self, run: RunDirectory) -> None:
        found = run.latest_checkpoint()
        if found is None:
            raise RunError(f"{run.path}: has no checkpoint, whose tokenizer counts the tokens of prompts.")
        self._tokenizer = Tokenizer.from_file(str(found[1] / "tokenizer.json"))

    def of(self, prompt: str) -> int:
        """Return the tokens of a rendered prompt."""
        return len(self._tokenizer.encode(prompt, add_special_tokens=False).ids)


def _draws(records: Iterable[RolloutRecord], prompts: _PromptLengths) -> tuple[Draw, ...]:
    """Return the problems of a step in the order of the stream, as far as its file has it."""
    by_group = [list(members) for _, members in groupby(records, key=lambda record: record.group_index)]
    return tuple(
        Draw(prompts.of(members[0].prompt), tuple(record.completion_tokens for record in members))
        for members in by_group
    )


def _num_samplers(run: RunDirectory) -> int:
    settings = run.config.model_dump()
    if settings["rollout"]["engine"]["name"] != "vllm_server":
        return 1
    return len(settings["vllm"]["urls"]) or int(settings["vllm"]["replicas"])


def sampler_rates(
    steps: Sequence[Sequence[Draw]],
    seconds: Sequence[float],
    *,
    samplers: int,
    slots: int,
    prefill_s: float = 0.0,
    cpus: Cpus = ALONE,
) -> SamplerRates:
    """Fit the time of each batch: its requests, its decoding steps, and the tokens of all sequences.

    Which sequences run together does not depend on the rates, so the time is a sum in which each rate stands once. What
    prompts cost is not fitted: they are alike in every batch.
    """
    none = SamplerRates(token_s=0, slots=slots)
    units = [replace(none, request_s=1), replace(none, token_s=1), replace(none, sequence_s=1)]
    counted = [[batch_seconds(step, unit, samplers, cpus) for unit in units] for step in steps]
    prompts = [batch_seconds(step, replace(none, prefill_s=prefill_s), samplers, cpus) for step in steps]
    rest = [max(0.0, whole - part) for whole, part in zip(seconds, prompts, strict=True)]
    request_s, token_s, sequence_s = _fit(counted, rest)
    return replace(none, token_s=token_s, sequence_s=sequence_s, request_s=request_s, prefill_s=prefill_s)


def batch_seconds(draws: Sequence[Draw], rates: SamplerRates, samplers: int, cpus: Cpus = ALONE) -> float:
    """Return how long samplers take for a batch that they are given at once."""
    pipeline = Pipeline(
        sampler=rates, learner=LearnerRates(token_s=0), samplers=samplers, groups_per_step=len(draws), cpus=cpus
    )
    return Simulation(pipeline, draws, InBatches(len(draws), 0)).run(1).steps[0].end_s


def _learner(lines: Sequence[Mapping[str, Any]], steps: Sequence[Sequence[Draw]], speed: float) -> LearnerRates:
    """Fit the time of each step of the learner: a constant, and the tokens of its completions."""
    counted = [[1.0, float(sum(sum(draw.completions) for draw in step))] for step in steps]
    step_s, token_s = _fit(counted, [speed * line["seconds/learning"] for line in lines])
    return LearnerRates(step_s=step_s, token_s=token_s)


def _fit(counted: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Return the rates, none below zero, whose sums come closest to the seconds (least squares)."""
    counts = np.array(counted)
    scales = counts.max(axis=0)
    rates, _ = nnls(counts / scales, np.array(seconds))
    return [float(rate) for rate in rates / scales]
