"""Measure any model on any suite, outside a run."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reasonrl.assembly import load_suite
from reasonrl.config import PluginRef
from reasonrl.errors import RunError
from reasonrl.evaluation.files import RESULTS, write_result
from reasonrl.evaluation.measure import measure
from reasonrl.evaluation.report import render_result
from reasonrl.plugins import Plugins
from reasonrl.prompts import Renderer, find_template
from reasonrl.runs.directory import RunDirectory


def evaluate_model(
    model: str,
    suite_name: str,
    params: Mapping[str, Any],
    changes: Mapping[str, Any],
    plugins: Plugins,
    *,
    seed: int,
    batch_problems: int,
    device: str,
    out: Path | None,
    overwrite: bool,
) -> str:
    """Measure a model, write the results and return them as text.

    Args:
        model: a name, a folder, a run directory or RUN@STEP.
        suite_name: which suite.
        params: parameters of the suite's function. Any: their types are the function's.
        changes: fields of the suite to replace, such as the template. Any: likewise.
        plugins: where the suite comes from.
        seed: decides the sampling.
        batch_problems: problems sampled at once.
        device: where the model runs.
        out: folder for the results.
        overwrite: replace results that are there.
    """
    suite = replace(load_suite(PluginRef(name=suite_name, params=dict(params)), plugins), **changes)
    folder = out or Path("results") / _slug(model) / suite.name
    if (folder / RESULTS).exists() and not overwrite:
        raise RunError(f"{folder} holds results already. Give --out FOLDER, or --overwrite to replace them.")
    place = checkpoint_of(model)
    engine, tokenizer = _load(place, device)
    renderer = Renderer(tokenizer, find_template(suite.template))
    result = measure(suite, engine, renderer, seed=seed, batch_problems=batch_problems)
    write_result(result, folder, model={"name": model, "place": place})
    return f"{render_result(result, model)}\nResults: {folder}"


def checkpoint_of(model: str) -> str:
    """Return the checkpoint that a run directory or RUN@STEP stands for; anything else stays as it is.

    Raises:
        RunError: the run has no such checkpoint.
    """
    name, at, wanted = model.rpartition("@")
    folder = Path(name if at else model)
    if not (folder / "manifest.json").is_file():
        return model
    return str(RunDirectory.open(folder).checkpoint_at(wanted if at else "")[1])


def _load(place: str, device_name: str) -> tuple[Any, Any]:
    """Load an engine and its tokenizer. Any: their types would import transformers."""
    from reasonrl.engines.local import LocalEngine
    from reasonrl.hardware import compute_dtype, find_device
    from reasonrl.models.load import load_model, load_tokenizer

    device = find_device(device_name)
    tokenizer, model = load_tokenizer(place), load_model(place, device)
    dtype = compute_dtype("auto", device, model.config.get_text_config().hidden_size)
    return LocalEngine(model, tokenizer, dtype), tokenizer


def _slug(model: str) -> str:
    """Return a folder name for a model."""
    return model.strip("./~").replace("/", "--").replace("@", "-step-") or "model"
