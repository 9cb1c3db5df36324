"""Measure the base model of a pipeline and the model of every stage on its suites, once all stages are done."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from reasonrl.config.pipeline import MODELS, Reference, references_in
from reasonrl.config.stages import Pipeline, Stage
from reasonrl.evaluation.files import Measured, read_measured
from reasonrl.evaluation.suite_run import SuiteProgress
from reasonrl.models import is_remote, locate
from reasonrl.models.identity import weights_identity
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.evaluate import evaluate_model
from reasonrl.run.evaluation_request import EvaluationRequest
from reasonrl.run.pipeline.inputs import model_folder
from reasonrl.run.pipeline.state import read_state, write_state
from reasonrl.types import digest

BASE: Final = "base"
"""The model that the first stage begins with."""
EVALS: Final = "evals"
"""Folder of the results, in the pipeline's: ``evals/STAGE/MODEL/SUITE``."""

Progress: TypeAlias = Callable[[], AbstractContextManager[Callable[[SuiteProgress], None]]]
"""Returns the context in which one model is measured; it gives what is told of every completion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredModel:
    """The base model, or the model of a stage, with its results by suite."""

    name: str
    """``base``, or the stage's name."""
    stage: Stage | None
    measured: Mapping[str, Measured]


def measure_stages(pipeline: Pipeline, say: Callable[[str], None], progress: Progress) -> list[MeasuredModel]:
    """Return the results of all models in the order of the stages; what is measured already is read.

    Raises:
        ReasonRLError: a suite or a model cannot be used.
        StoppedError: Ctrl-C was pressed; what is measured is kept.
    """
    if not pipeline.config.evaluation.suites:
        return []
    return [_measured(pipeline, *each, say, progress) for each in _models(pipeline)]


def _models(pipeline: Pipeline) -> Iterator[tuple[str, Stage | None, str]]:
    """Yield name, stage and place of the models to measure."""
    stages = [stage for stage in pipeline.stages if stage.kind in MODELS]
    if stages and (base := base_model(stages[0])) is not None:
        yield BASE, None, base
    for stage in stages:
        yield stage.name, stage, str(model_folder(stage))


def base_model(stage: Stage) -> str | None:
    """Return the model that a stage begins with; None where that is another stage's."""
    model = stage.settings.get("model")
    name = str(model.get("name")) if isinstance(model, dict) else str(model)
    return None if any(isinstance(found, Reference) for found in references_in(name)) else name


def _measured(
    pipeline: Pipeline, name: str, stage: Stage | None, place: str, say: Callable[[str], None], progress: Progress
) -> MeasuredModel:
    """Measure one model, unless its results are there."""
    out, settings = pipeline.folder / EVALS / name, pipeline.config.evaluation
    identity = place if is_remote(place) else weights_identity(Path(locate(place)))
    measured_as, state = digest(identity, settings.model_dump_json()), read_state(pipeline.folder)
    if state.measured.get(name) != measured_as:
        shutil.rmtree(out, ignore_errors=True)  # of another model, or of other suites
        write_state(pipeline.folder, state.measures(name, measured_as))
    say(f"measuring {name}: {place}")
    request = EvaluationRequest(
        model=place,
        suites=tuple(settings.suites),
        engine=settings.engine,
        vllm=settings.vllm if settings.vllm.model_fields_set else None,
        out=out,
    )
    with progress() as tell:
        found = evaluate_model(request, Plugins(), tell=tell)
    results = [read_measured(each.folder) for each in found]
    return MeasuredModel(name=name, stage=stage, measured={each.result.name: each for each in results})
