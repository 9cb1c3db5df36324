"""The runs that made a model, each in a few words: what it learned from, and how."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from reasonrl.config.kinds import AnyConfig
from reasonrl.config.settings import RunConfig
from reasonrl.run.checkpoints import run_of
from reasonrl.run.export.data import learned_from
from reasonrl.run.export.record import Stage, read_record
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.lineage import template_names

METHODS: Final[Mapping[str, str]] = {
    "sft": "supervised finetuning (SFT)",
    "dpo": "direct preference optimization (DPO)",
    "kto": "Kahneman-Tversky optimization (KTO)",
}
"""What the kinds of runs do that have one method."""


def stages_of(directory: RunDirectory, step: int) -> tuple[str, tuple[Stage, ...]]:
    """Return the base model of a run's checkpoint, and the runs that made it of that, the earliest first.

    What a run began with is followed as far as its directory, or the exported folder, is still there.

    Args:
        directory: the last run.
        step: the checkpoint's.
    """
    stages = [_stage(directory, step)]
    while (parent := directory.manifest.parent) is not None:
        if (record := read_record(Path(str(parent.get("export", ""))))) is not None:
            return record.base_model, (*record.stages, *stages)
        run = Path(str(parent["run"]))
        if not (run / "manifest.json").is_file():
            break
        directory, step = RunDirectory.open(run), int(parent.get("step", 0))
        stages.insert(0, _stage(directory, step))
    return directory.config.model.name, tuple(stages)


def _stage(directory: RunDirectory, step: int) -> Stage:
    config, manifest = directory.config, directory.manifest
    return Stage(
        run=manifest.name,
        run_id=manifest.run_id,
        kind=manifest.kind,
        step=step,
        model=_began_with(directory),
        template=", ".join(template_names(config)),
        method=_method(config, manifest.kind),
        data=learned_from(directory),
    )


def _began_with(directory: RunDirectory) -> str:
    """Return the model of a run's beginning without the folders of this machine, where a run or an export made it."""
    parent = directory.manifest.parent
    if parent is None:
        return directory.config.model.name
    if "export" in parent:
        return Path(str(parent["export"])).name
    return f"{Path(str(parent['run'])).name}@{parent.get('step', 0)}"


def _method(config: AnyConfig, kind: str) -> str:
    lora = "" if config.model.lora is None else f", LoRA of rank {config.model.lora.rank}"
    if not isinstance(config, RunConfig):
        return METHODS.get(kind, kind) + lora
    sampled = f"{config.rollout.prompts_per_step} x {config.rollout.samples_per_prompt} completions a step"
    return f"{' and '.join(_signals(config))}, {sampled}{lora}"


def _signals(config: RunConfig) -> Iterator[str]:
    """Yield what a policy learned from beside its own samples."""
    algorithm, teacher = config.algorithm, config.distillation
    if config.learns_from_rewards:
        name = algorithm.preset or f"{algorithm.advantage.name} with {algorithm.loss.name}"
        yield f"reinforcement learning ({name})"
    if teacher is not None:
        yield f"on-policy distillation from `{_named(teacher.teacher)}`"


def _named(teacher: str) -> str:
    """Return a teacher's name without the folders of this machine, where a run made it."""
    found = run_of(teacher)
    return teacher if found is None else f"{found[0].name}@{found[1]}"
