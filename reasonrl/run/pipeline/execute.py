"""Run a pipeline: keep what is done, go on with what was stopped, do again what follows from something that changed."""

import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

from reasonrl.config.stages import Pipeline, Stage
from reasonrl.errors import RunError
from reasonrl.run.files.claim import next_name
from reasonrl.run.files.lock import lock, require_idle
from reasonrl.run.files.manifest import read_manifest
from reasonrl.run.pipeline.child import run_command
from reasonrl.run.pipeline.commands import MANIFEST, selections, stage_commands, write_run_file
from reasonrl.run.pipeline.inputs import stage_inputs
from reasonrl.run.pipeline.state import PipelineState, StageInputs, read_state, write_state
from reasonrl.system.atomic import partial_of, remove, write_atomically
from reasonrl.system.disk import disk_errors

Standing: TypeAlias = Literal["done", "begun", "changed", "new", "waits"]
"""How a stage stands: it is kept, is gone on with, is done again, is not begun, or waits for one that is not done."""
Say: TypeAlias = Callable[[str], None]

INPUT: Final = "pipeline.input.yaml"
"""The pipeline file as it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStanding:
    """How a stage stands, and what decides it now."""

    stage: Stage
    standing: Standing
    inputs: StageInputs | None = None
    """None where an earlier stage is not done."""
    why: str = ""
    """What changed."""

    def line(self) -> str:
        """Return it in words."""
        said = {
            "done": "done",
            "begun": "goes on where it was stopped",
            "changed": f"is done again: {self.why}",
            "new": "not begun",
            "waits": f"waits for {self.why}",
        }
        return f"{self.stage.name} ({self.stage.kind}): {said[self.standing]}"


def standings(pipeline: Pipeline) -> list[StageStanding]:
    """Return how each stage stands; nothing is changed.

    Raises:
        RunError: a record of the pipeline or of a run cannot be read.
    """
    state = read_state(pipeline.folder)
    found: list[StageStanding] = []
    for stage in pipeline.stages:
        open_ones = [one.stage.name for one in found if one.standing != "done"]
        waiting = [name for name in dict.fromkeys(each.stage for each in stage.references) if name in open_ones]
        found.append(
            StageStanding(stage=stage, standing="waits", why=" and ".join(waiting))
            if waiting
            else standing_of(pipeline, stage, state)
        )
    return found


def standing_of(pipeline: Pipeline, stage: Stage, state: PipelineState) -> StageStanding:
    """Return how a stage stands whose earlier stages are done."""
    inputs, known = stage_inputs(pipeline, stage), state.stages.get(stage.name)
    if known is None:
        return StageStanding(stage=stage, standing="new", inputs=inputs)
    if why := known.difference(inputs):
        return StageStanding(stage=stage, standing="changed", inputs=inputs, why=why)
    return StageStanding(stage=stage, standing="done" if is_complete(stage, state) else "begun", inputs=inputs)


def is_complete(stage: Stage, state: PipelineState) -> bool:
    """Say whether a stage that was begun has made all that it makes."""
    if stage.sampling is not None:
        return stage.name in state.sampled
    if stage.trains is None:
        return stage.folder.is_dir()
    manifest = stage.folder / MANIFEST
    return manifest.is_file() and read_manifest(manifest).status == "finished"


def run_stages(pipeline: Pipeline, say: Say, *, overwrite: bool = False, quiet: bool = False) -> None:
    """Do every stage that is not done.

    Args:
        pipeline: its stages.
        say: shows a person a line.
        overwrite: do all of them anew.
        quiet: write what stages print to standard error.

    Raises:
        ConfigError: a stage that samples keeps nothing that means something.
        RunError: a stage failed, a folder is there that this pipeline has not made, or another process is running it.
        StoppedError: Ctrl-C was pressed.
    """
    for stage in pipeline.stages:
        if stage.sampling is not None:
            selections(stage.sampling)
    with _held(pipeline.folder):
        write_atomically(pipeline.folder / INPUT, pipeline.source.encode())
        if overwrite:
            _forget(pipeline)
        for number, stage in enumerate(pipeline.stages, start=1):
            _do(pipeline, stage, partial(_say_of, say, f"[{number}/{len(pipeline.stages)}]"), quiet)


def _say_of(say: Say, place: str, text: str) -> None:
    say(f"{place} {text}")


def _do(pipeline: Pipeline, stage: Stage, say: Say, quiet: bool) -> None:
    """Do one stage, unless it is done."""
    state = read_state(pipeline.folder)
    found = standing_of(pipeline, stage, state)
    say(found.line())
    if found.standing == "done":
        return
    assert found.inputs is not None, "earlier stages are done"
    if found.standing == "new":
        _refuse_foreign(stage, pipeline)
    if found.standing == "changed":
        _remove(stage)  # before the new inputs are recorded: what is there then is always of them
    state = state.begun(stage.name, found.inputs)
    write_state(pipeline.folder, state)
    outputs = pipeline.outputs()
    write_run_file(stage, outputs)
    for words in stage_commands(stage, outputs):
        say(shlex.join(["reasonrl", *words]))
        run_command(words, quiet=quiet)
    if stage.sampling is not None:
        write_state(pipeline.folder, state.has_sampled(stage.name))


def _refuse_foreign(stage: Stage, pipeline: Pipeline) -> None:
    """Refuse a folder that something else has made."""
    if os.path.lexists(stage.folder):
        raise RunError(
            f"{stage.folder} exists already and was not made by this pipeline. Remove it, or choose another name: "
            f"name={next_name(pipeline.folder)}."
        )


def _forget(pipeline: Pipeline) -> None:
    """Remove what the pipeline has made."""
    state = read_state(pipeline.folder)
    for stage in pipeline.stages:
        if stage.name in state.stages:
            _remove(stage)
    write_state(pipeline.folder, PipelineState())


def _remove(stage: Stage) -> None:
    """Remove what a stage has made; a process that is still training in it is an error."""
    shutil.rmtree(partial_of(stage.folder), ignore_errors=True)
    if stage.folder.is_dir():
        require_idle(stage.folder)
        remove(stage.folder)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Be the one process that runs the pipeline."""
    with disk_errors(folder, "then give the command again."):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = lock(folder)
    except RunError:
        raise RunError(f"{folder}: another process is running this pipeline. Stop it, or wait for its end.") from None
    try:
        yield
    finally:
        os.close(descriptor)
