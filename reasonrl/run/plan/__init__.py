"""What a run would do and cost, before it does anything: nothing is written."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from reasonrl.config.runfile import dump_run
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ModelError, UnreachableError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.check import check_model
from reasonrl.run.distillation import resolve_teacher, teacher_place
from reasonrl.run.inputs import RunInputs, load_inputs
from reasonrl.run.lineage import resolve_model
from reasonrl.run.plan.estimates import OPENING_S, Plan, memory_line

if TYPE_CHECKING:
    from reasonrl.run.build import RunComponents
    from reasonrl.run.plan.probe import Probe


def plan_run(config: RunConfig, plugins: Plugins) -> Plan:
    """Return the plan of a run, its first step taken and its suites measured on the loaded model.

    A model or data that this machine cannot reach is a warning: a run for another machine can be planned here.

    Raises:
        ReasonRLError: anything else that would stop the run.
    """
    began = perf_counter()
    config = resolve_teacher(resolve_model(config, plugins), plugins)
    check_model(config)
    path = f"{config.run.root}/{config.name}"
    warnings: list[str] = []
    inputs, components = _reachable(config, plugins, warnings)
    lines = [*_resolved(config), "", f"run        {path}"]
    lines += _data_lines(config, inputs) if inputs else []
    lines += _budget_lines(config)
    warnings += inputs.warnings if inputs else []
    plan = Plan(path=path, steps=config.run.steps, lines=tuple(lines), warnings=tuple(warnings))
    if components is None or inputs is None:
        return plan
    with closing(components):
        return _measured(plan, config, inputs, components, startup_s=OPENING_S + perf_counter() - began)


def _measured(
    plan: Plan, config: RunConfig, inputs: RunInputs, components: "RunComponents", *, startup_s: float
) -> Plan:
    """Return a plan with what the run is expected to take."""
    from reasonrl.run.computing import choice_lines
    from reasonrl.run.plan.evaluation import probe_evaluation
    from reasonrl.run.plan.memory import StepSize, memory_parts
    from reasonrl.run.plan.prediction import prediction, time_lines
    from reasonrl.run.plan.probe import probe_step

    step, evaluation = probe_step(config, components), probe_evaluation(config, inputs, components)
    measured = prediction(config, components, step, evaluation, startup_s=startup_s)
    parts = memory_parts(config, components, StepSize.at_limit(config, step.longest_prompt))
    lines = [
        *plan.lines,
        *choice_lines(components.choice, components.learner.model),
        *time_lines(config, components, step, measured),
        memory_line(parts),
    ]
    warnings = [*_context_warning(config, components, step), *components.choice.warnings, *plan.warnings]
    return replace(plan, lines=tuple(lines), measured=measured, parts=parts, warnings=tuple(warnings))


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
        # Steps that are taken to be measured leave the model as it is, so that the next completions are still its own.
        return inputs, build_components(config, inputs, plugins, rate_factor=0.0)
    except ModelError as error:
        if not (is_remote(config.model.name) or is_remote(teacher_place(config) or "")):
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


def _context_warning(config: RunConfig, components: "RunComponents", probe: "Probe") -> Iterator[str]:
    """Warn when the longest completion cannot fit the model."""
    limit = getattr(components.learner.model.config.get_text_config(), "max_position_embeddings", None)
    needed = probe.longest_prompt + config.longest_completion
    if limit is not None and needed > limit:
        yield f"prompt and completion can have {needed} tokens, more than the model's {limit} positions"
