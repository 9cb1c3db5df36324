"""What a pipeline would do and take, stage by stage, before it does anything: nothing is written."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from reasonrl.config.kinds import AnyConfig
from reasonrl.config.pipeline import MODELS, Reference
from reasonrl.config.stages import Pipeline, Stage
from reasonrl.errors import ModelError
from reasonrl.run.pipeline.commands import selections
from reasonrl.run.pipeline.execute import StageStanding, standings
from reasonrl.run.pipeline.measuring import base_model
from reasonrl.run.plan.estimates import Estimate, Plan, duration
from reasonrl.system.summary import Summary

PlanOf: TypeAlias = Callable[[AnyConfig], Plan]
"""Returns the plan of a run of any kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """What one stage would do and take."""

    standing: StageStanding
    plan: Plan | None = None
    """None where nothing is left to do, where the stage is no run, and where it cannot be planned yet."""
    note: str = ""
    """Why there is no plan, or what was planned in place of what is not there yet."""

    def lines(self) -> Iterator[str]:
        """Yield it in words."""
        yield self.standing.line()
        if self.plan is not None:
            measured = self.plan.measured.line() if self.plan.measured else "total      not known here"
            steps = f"{self.plan.steps} steps" if self.plan.steps else "steps that depend on the rows"
            yield f"    {steps}; {measured.removeprefix('total').strip()}"
            yield from (f"    warning: {warning}" for warning in self.plan.warnings)
        if self.note:
            yield f"    {self.note}"

    def record(self) -> dict[str, Any]:
        """Return it as JSON values. Any: JSON values."""
        stage = self.standing.stage
        about = {"name": stage.name, "kind": stage.kind, "standing": self.standing.standing, "why": self.standing.why}
        return {**about, "note": self.note, "plan": None if self.plan is None else self.plan.record()}


def plan_pipeline(pipeline: Pipeline, plan_of: PlanOf) -> Summary:
    """Return the plan of each stage that is not done.

    A model that no stage has made yet is planned by the one that its chain of stages begins with, whose size it has.

    Raises:
        ReasonRLError: something would stop a stage that can be planned.
    """
    plans = [_stage_plan(pipeline, standing, plan_of) for standing in standings(pipeline)]
    count = len(pipeline.stages)
    lines = [f"pipeline {pipeline.config.name}: {pipeline.folder}"]
    for number, plan in enumerate(plans, start=1):
        first, *others = plan.lines()
        lines += [f"[{number}/{count}] {first}", *others]
    time = Estimate.total(each.plan.measured.time for each in plans if each.plan and each.plan.measured)
    planned = sum(each.plan is not None and each.plan.measured is not None for each in plans)
    suites = ", ".join(suite.name for suite in pipeline.config.evaluation.suites) or "none"
    lines += [
        f"measured at the end: {suites}",
        f"runs that are planned here: {planned}, about {duration(time.expected)}",
    ]
    values = {
        "pipeline": pipeline.config.name,
        "folder": str(pipeline.folder),
        "stages": [plan.record() for plan in plans],
        "time_s": time.record(),
    }
    return Summary("\n".join(lines), values)


def _stage_plan(pipeline: Pipeline, standing: StageStanding, plan_of: PlanOf) -> StagePlan:
    stage = standing.stage
    if standing.standing == "done":
        return StagePlan(standing=standing)
    if stage.sampling is not None:
        return StagePlan(standing=standing, note=_sampled(pipeline, stage))
    if stage.trains is None:
        return StagePlan(standing=standing, note=f"writes {stage.folder}")
    outputs, missing = _outputs(pipeline, stage)
    if missing:
        return StagePlan(standing=standing, note=f"cannot be planned before {' and '.join(missing)} is there")
    stand_ins = [f"{text} by {place}" for text, place in outputs.items() if place != pipeline.outputs()[text]]
    note = f"planned with {', '.join(stand_ins)}" if stand_ins else ""
    return StagePlan(standing=standing, plan=plan_of(stage.config(outputs)), note=note)


def _outputs(pipeline: Pipeline, stage: Stage) -> tuple[dict[str, str], list[str]]:
    """Return what references of a stage stand for in a plan, and those for which nothing can stand."""
    outputs, missing = dict[str, str](), list[str]()
    for reference in stage.references:
        place = _place(pipeline, reference)
        if place is None:
            missing.append(reference.text)
        else:
            outputs[reference.text] = place
    return outputs, missing


def _place(pipeline: Pipeline, reference: Reference) -> str | None:
    """Return what a reference stands for, or the model that its chain begins with; None where nothing can stand."""
    of = pipeline.stage(reference.stage)
    done = {one.stage.name for one in standings(pipeline) if one.standing == "done"}
    if of.name in done:
        return of.output(reference)
    return first_model(pipeline, of) if of.kind in MODELS else None


def first_model(pipeline: Pipeline, stage: Stage) -> str:
    """Return the model that a chain of stages begins with.

    Raises:
        ModelError: a stage names none.
    """
    found = base_model(stage)
    if found is not None:
        return found
    for reference in stage.references:
        earlier = pipeline.stage(reference.stage)
        if earlier.kind in MODELS:
            return first_model(pipeline, earlier)
    raise ModelError(f"stage {stage.name}: its model is that of no stage.")


def _sampled(pipeline: Pipeline, stage: Stage) -> str:
    """Say what a stage samples and keeps."""
    sampling = stage.sampling
    assert sampling is not None, "it samples"
    config = stage.config(pipeline.outputs())
    rollout: Mapping[str, Any] = config.model_dump()["rollout"]  # Any: its settings
    problems = "all" if sampling.num_problems is None else str(sampling.num_problems)
    samples = sampling.num_samples or rollout["samples_per_prompt"]
    kept = ", ".join(f"{schema} ({selection.kept})" for schema, selection in selections(sampling).items()) or "samples"
    tokens = rollout["max_new_tokens"]
    return f"{problems} problems x {samples} completions x at most {tokens} tokens; keeps rows for {kept}"
