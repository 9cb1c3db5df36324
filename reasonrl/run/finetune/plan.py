"""What a run of SFT, DPO or KTO would do and cost, before it does anything: nothing is written."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Final

from reasonrl.config.finetune import FinetuneConfig, SFTRunConfig
from reasonrl.config.runfile import dump_run
from reasonrl.errors import ModelError, UnreachableError
from reasonrl.models import is_remote
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.attempt import Schedule
from reasonrl.run.check import check_model
from reasonrl.run.finetune.prepared import FinetuneRun, LoadedFinetuneRun
from reasonrl.run.lineage import resolve_model
from reasonrl.run.plan.estimates import (
    OPENING_S,
    WRITTEN_PER_S,
    Estimate,
    Measured,
    Plan,
    memory_line,
    times_line,
)
from reasonrl.run.plan.evaluation import EvaluationProbe, probe_suites
from reasonrl.run.plan.memory import MOMENT_BYTES, activation_bytes
from reasonrl.system.memory import peak_memory

if TYPE_CHECKING:
    from reasonrl.finetune.training import Finetuning

PROBE_STEPS: Final = 4
"""Steps that are taken after one that warms up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What steps took."""

    opening_s: float
    """What the first of them takes longer than others."""
    step_s: float
    tokens: float
    """Of a step, prompts included."""


def plan_finetune(config: FinetuneConfig, plugins: Plugins) -> Plan:
    """Return the plan of a run, its first steps taken and its suites measured on the loaded model.

    A model or data that this machine cannot reach is a warning: a run for another machine can be planned here.

    Raises:
        ReasonRLError: anything else that would stop the run.
    """
    began = perf_counter()
    config = resolve_model(config, plugins)
    check_model(config)
    path = f"{config.run.root}/{config.name}"
    lines, warnings = [*dump_run(config).splitlines(), "", f"run        {path}"], list[str]()
    prepared, loaded = _reachable(config, plugins, warnings)
    lines += _data_lines(prepared) if prepared else []
    plan = Plan(path=path, steps=loaded.num_steps if loaded else config.run.steps or 0, lines=tuple(lines))
    if loaded is None:
        more = prepared.warnings if prepared else ()
        return replace(plan, warnings=(*warnings, *more))
    with closing(loaded):
        return _measured(plan, loaded, startup_s=OPENING_S + perf_counter() - began)


def _reachable(
    config: FinetuneConfig, plugins: Plugins, warnings: list[str]
) -> tuple[FinetuneRun | None, LoadedFinetuneRun | None]:
    """Load what this machine can reach; note what it cannot."""
    try:
        prepared = FinetuneRun.prepare(config, plugins, None)
    except UnreachableError as error:
        warnings.append(f"not checked here: {error}")
        return None, None
    try:
        return prepared, prepared.load(None, 1.0, None)
    except ModelError as error:
        if not is_remote(config.model.name):
            raise
        warnings.append(f"not checked here: {error}")
        return prepared, None


def _measured(plan: Plan, loaded: LoadedFinetuneRun, *, startup_s: float) -> Plan:
    """Return a plan with what the run is expected to take."""
    config, tuned, suites = loaded.prepared.config, loaded.tuned, loaded.suites
    with suites.ready(0) if suites else nullcontext():
        evaluation = probe_suites(suites.suites, suites.measure) if suites else EvaluationProbe()
    steps = _probe_steps(tuned)
    parts = memory_parts(config, tuned)
    seconds = _seconds(config, tuned, steps, evaluation, parts, startup_s)
    measured = Measured(seconds=seconds, memory=Estimate.of(peak_memory(os.getpid()) or 0))
    lines = [
        *plan.lines,
        *_length_lines(loaded),
        f"step       about {steps.step_s:.2f} s; measured on steps of {steps.tokens:.0f} tokens, {tuned.device}",
        times_line(seconds),
        memory_line(parts),
    ]
    return replace(plan, lines=tuple(lines), measured=measured, parts=parts, warnings=loaded.warnings)


def _probe_steps(tuned: "Finetuning") -> Steps:
    """Take a few steps as the run does."""
    taken: list[tuple[float, float]] = []

    def after_step(step: int, logs: Mapping[str, float]) -> bool:
        taken.append((logs["seconds/step"], logs["tokens"]))
        return len(taken) <= PROBE_STEPS

    tuned.trainer.train_from(None, after_step)
    first, *others = taken
    step_s, tokens = (median(values) for values in zip(*(others or [first]), strict=True))
    return Steps(opening_s=max(0.0, first[0] - step_s), step_s=step_s, tokens=tokens)


def _seconds(
    config: FinetuneConfig,
    tuned: "Finetuning",
    steps: Steps,
    evaluation: EvaluationProbe,
    parts: Mapping[str, float],
    startup_s: float,
) -> Mapping[str, Estimate]:
    """Return the time by part of the run."""
    schedule = Schedule(tuned.num_steps, config.evaluation.every, config.run.checkpoint_every)
    numbers = range(1, tuned.num_steps + 1)
    measured = 1 + sum(map(schedule.evaluates_after, numbers))
    saved = sum(map(schedule.saves_after, numbers))
    written = saved * sum(parts[name] for name in ("weights", "optimizer")) / WRITTEN_PER_S
    growth = max(1.0, evaluation.most_growth)
    return {
        "startup": Estimate.of(startup_s + steps.opening_s),
        "steps": Estimate.of(tuned.num_steps * steps.step_s),
        "evaluations": Estimate(measured * evaluation.seconds, measured * evaluation.seconds * growth),
        "checkpoints": Estimate.of(written),
    }


def _data_lines(run: FinetuneRun) -> Iterator[str]:
    """Source and sizes, and whether train and held-out are apart."""
    counts = ", ".join(f"{count} {name}" for name, count in run.rows.summary.items())
    yield f"data       {run.rows.source}: {counts}"
    for suite in run.suites:
        yield f"held-out   {suite.name} v{suite.version}: {len(suite.problems)} problems x {suite.num_samples}, " + (
            "greedy" if suite.temperature == 0 else f"temperature {suite.temperature:g}"
        )
        yield f"overlap    {suite.name}: {run.overlaps[suite.name].summary}"


def _length_lines(loaded: LoadedFinetuneRun) -> Iterator[str]:
    """Rows, steps and lengths; what is too long is counted in a warning."""
    config, tuned = loaded.prepared.config, loaded.tuned
    lengths = row_lengths(tuned)
    packed = isinstance(config, SFTRunConfig) and config.sft.packing
    yield (
        f"budget     {tuned.num_steps} steps of {config.rows_per_step} {'sequences' if packed else 'rows'}, an epoch "
        f"is {-(-tuned.num_rows // config.rows_per_step)} steps; {config.microbatch_rows} in one forward pass"
    )
    yield (
        f"lengths    median {median(lengths):.0f}, longest {max(lengths)} tokens with prompt and end; limit "
        f"{config.data.max_length} (data.max_length)"
    )


def row_lengths(tuned: "Finetuning") -> list[int]:
    """Return the tokens of every row; of a pair those of both completions, each with the prompt."""
    lengths: dict[str, list[int]] = {
        name: [len(ids) for ids in tuned.trainer.train_dataset[name]]
        for name in tuned.trainer.train_dataset.column_names
        if name.endswith("_ids") and not name.startswith("KL_")
    }
    if "chosen_ids" not in lengths:
        return [sum(parts) for parts in zip(*lengths.values(), strict=True)]
    both = zip(lengths["prompt_ids"], lengths["chosen_ids"], lengths["rejected_ids"], strict=True)
    return [2 * prompt + chosen + rejected for prompt, chosen, rejected in both]


def memory_parts(config: FinetuneConfig, tuned: "Finetuning") -> Mapping[str, float]:
    """Return bytes by part."""
    from reasonrl.models.lora import is_base

    model, longest = tuned.model, max(row_lengths(tuned))
    weights = sum(parameter.nbytes for parameter in model.parameters())
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    moment = MOMENT_BYTES[config.learner.optimizer]
    has_reference = not isinstance(config, SFTRunConfig) and not is_base(config.model.name, model)
    tokens = config.microbatch_rows * longest
    return {
        "weights": weights,
        "gradients": sum(parameter.nbytes for parameter in trainable),
        "optimizer": 2 * moment * sum(parameter.numel() for parameter in trainable),
        **({"reference": weights} if has_reference else {}),
        "activations": tokens * activation_bytes(model, config.model.gradient_checkpointing),
    }
