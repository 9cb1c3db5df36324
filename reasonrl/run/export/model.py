"""Export a run's checkpoint as a folder that transformers, vLLM and lm_eval load without reasonrl."""

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from reasonrl.errors import ConfigError, DataError, RunError
from reasonrl.evaluation.export.hf_card import CARD
from reasonrl.evaluation.files import Measured, read_measured
from reasonrl.evaluation.find import results_by_suite
from reasonrl.models.license import license_of
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.checkpoints import checkpoint_of, run_of
from reasonrl.run.export.card import CardInputs, model_card
from reasonrl.run.export.record import RECORD, ExportRecord, write_record
from reasonrl.run.export.stages import stages_of
from reasonrl.run.files.checkpoint import verify
from reasonrl.run.files.claim import publish
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.lineage import templates_of
from reasonrl.system.atomic import partial_of
from reasonrl.system.disk import disk_errors, full_disk_recognized, require_writable
from reasonrl.system.summary import Summary

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WeightsDtype: TypeAlias = Literal["bfloat16", "float32"]
"""Type of the weights in an exported folder."""

AGAIN: Final = "then export again."


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """Which model to export, and where to."""

    model: str
    """``RUN`` for its latest checkpoint, ``RUN@STEP``, or the folder of a checkpoint."""
    to: Path
    """The folder; it must be new, empty, or an exported model that ``overwrite`` replaces."""
    dtype: WeightsDtype = "bfloat16"
    results: Sequence[str] = ()
    """Folders of results of this model that were measured outside of the run."""
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A checkpoint to export."""

    directory: RunDirectory
    step: int
    folder: Path


def export_model(request: ExportRequest, plugins: Plugins) -> Summary:
    """Write the model's folder, complete or not at all, and return what is in it.

    An adapter is merged into the weights of its base, in float32, before they are rounded.

    Raises:
        ConfigError: the model is not one that a run has made, or results are those of another model.
        RunError: there is no such checkpoint, it is damaged, or the folder cannot be written.
        ModelError: the model cannot be loaded, or a template is no longer there.
    """
    _require_free(request.to, overwrite=request.overwrite)
    found = _found(request.model)
    measured = [*_own_results(found), *_further_results(request, found)]
    verify(found.folder, found.directory.kind.command)
    record = _record(request, found, plugins)
    require_writable(request.to, AGAIN)
    to = request.to.resolve()
    building = partial_of(to.with_name(f"{to.name}.{os.getpid()}"))
    with disk_errors(request.to, AGAIN):
        try:
            building.mkdir(parents=True)
            with full_disk_recognized(building):
                _fill(building, request, found, record, measured, plugins)
            publish(building, to)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return _summary(request, record, measured)


def _found(model: str) -> _Found:
    """Find the checkpoint that a user means.

    Raises:
        ConfigError: no run has made the model, or it is a reward model.
    """
    place = checkpoint_of(model)
    run, step = run_of(place) or (None, None)
    if run is None or step is None:
        raise ConfigError(
            f"export: {model!r} is not a run's model. Name a run, RUN@STEP or RUN/checkpoints/step_N. (A reward "
            "model's folder, RUN/model, is complete as it is.)"
        )
    return _Found(directory=RunDirectory.open(run), step=step, folder=Path(place))


def _require_free(to: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds something, unless it is an exported model that is to be replaced.

    Raises:
        RunError: it does.
    """
    if not os.path.lexists(to) or (to.is_dir() and not any(to.iterdir())):
        return
    if not (to / RECORD).is_file():
        kept = ", so --overwrite does not replace it" if overwrite else ""
        raise RunError(f"--to {to}: exists and is not an exported model{kept}. Name another folder.")
    if not overwrite:
        raise RunError(f"--to {to}: holds an exported model. Name another folder, or add --overwrite to replace it.")


def _own_results(found: _Found) -> list[Measured]:
    """Return what the run measured after the step; nothing where it did not."""
    with suppress(DataError):
        folders = results_by_suite(f"{found.directory.path}@{found.step}")
        return [read_measured(folder) for folder in folders.values()]
    return []


def _further_results(request: ExportRequest, found: _Found) -> list[Measured]:
    """Return results from elsewhere, which must be of this model.

    Raises:
        ConfigError: they are of another one.
        DataError: there are none.
    """
    measured = [read_measured(each) for path in request.results for each in results_by_suite(path).values()]
    for one in measured:
        if not _is_of(one, found):
            raise ConfigError(
                f"--results {one.folder}: was measured on {one.model.get('place', one.model.get('name'))}, not on "
                f"{found.folder}."
            )
    return measured


def _is_of(measured: Measured, found: _Found) -> bool:
    """Say whether results are of a checkpoint: by its place, or as a run records its own."""
    place, model = str(measured.model.get("place", "")), measured.model
    is_own = (model.get("run"), model.get("step")) == (found.directory.manifest.name, found.step)
    return is_own or (bool(place) and Path(place).resolve() == found.folder.resolve())


def _record(request: ExportRequest, found: _Found, plugins: Plugins) -> ExportRecord:
    base, stages = stages_of(found.directory, found.step)
    return ExportRecord(
        run=found.directory.manifest.name,
        step=found.step,
        dtype=request.dtype,
        templates=templates_of(found.directory, plugins),
        base_model=base,
        stages=stages,
        versions={name: version(name) for name in ("reasonrl", "torch", "transformers")},
    )


def _fill(
    folder: Path,
    request: ExportRequest,
    found: _Found,
    record: ExportRecord,
    measured: Sequence[Measured],
    plugins: Plugins,
) -> None:
    """Write everything into a folder that nobody looks for."""
    from reasonrl.models.load import load_tokenizer
    from reasonrl.models.quiet import without_bars

    tokenizer = load_tokenizer(str(found.folder))
    is_chat_ready = _prepare_chat(tokenizer, record)
    with without_bars():
        _model(str(found.folder), request.dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_record(folder, record)
    inputs = CardInputs(
        name=request.to.resolve().name,
        record=record,
        directory=found.directory,
        results=measured,
        license=license_of(record.base_model),
        is_chat_ready=is_chat_ready,
    )
    (folder / CARD).write_bytes(model_card(inputs, plugins))


def _prepare_chat(tokenizer: "PreTrainedTokenizerBase", record: ExportRecord) -> bool:
    """Have a tokenizer make the prompts that the model was trained with, where it can; say whether it does."""
    from reasonrl.run.export.chat_template import give_chat_template, makes_prompts_of

    if len(record.templates) != 1:
        return False
    template = record.templates[0].template()
    return makes_prompts_of(tokenizer, template) if template.chat else give_chat_template(tokenizer, template)


def _model(place: str, dtype: WeightsDtype) -> "PreTrainedModel":
    """Load a checkpoint with its adapter merged, in the type that it is to have."""
    import torch

    from reasonrl.models.load import load_model
    from reasonrl.models.lora import adapter_base, merged_model

    cpu = torch.device("cpu")
    base = adapter_base(place)
    model = load_model(place, cpu) if base is None else merged_model(load_model(base, cpu), place)
    rounded: PreTrainedModel = model.to(getattr(torch, dtype))
    return rounded


def _summary(request: ExportRequest, record: ExportRecord, measured: Sequence[Measured]) -> Summary:
    values: Mapping[str, object] = {
        "folder": str(request.to),
        "run": record.run,
        "step": record.step,
        "dtype": record.dtype,
        "base_model": record.base_model,
        "suites": [one.result.name for one in measured],
    }
    suites = ", ".join(one.result.name for one in measured) or f"none was measured after step {record.step}"
    lines = [f"{record.run}@{record.step} in {record.dtype}: {request.to}", f"suites on its card: {suites}"]
    return Summary("\n".join(lines), values)
