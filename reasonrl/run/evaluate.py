"""Measure any model on any suite, outside a run."""

from pathlib import Path
from typing import Any

from reasonrl.config.settings import SuiteRef
from reasonrl.errors import RunError
from reasonrl.evaluation.files import RESULTS, write_result
from reasonrl.evaluation.measure import measure
from reasonrl.evaluation.report import render_result
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.inputs import load_suite
from reasonrl.scoring.metrics import start_metrics


def evaluate_model(
    model: str,
    suite_ref: SuiteRef,
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
        suite_ref: which suite, and what replaces its own settings.
        plugins: where the suite comes from.
        seed: decides the sampling.
        batch_problems: problems sampled at once.
        device: where the model runs.
        out: folder for the results; None is ``results/MODEL/SUITE``.
        overwrite: replace results that are there.

    Raises:
        RunError: there are results already, or the run has no such checkpoint.
    """
    suite = load_suite(suite_ref, plugins)
    folder = out or Path("results") / _slug(model) / suite.name
    if (folder / RESULTS).exists() and not overwrite:
        raise RunError(f"{folder} holds results already. Give --out FOLDER, or --overwrite to replace them.")
    with start_metrics([suite]) as metrics:  # before the model is loaded: a bad metric is refused at once
        place = checkpoint_of(model)
        engine, tokenizer = _load(place, device)
        renderer = Renderer(tokenizer, find_template(suite.template, plugins))
        result = measure(suite, engine, renderer, metrics=metrics, seed=seed, batch_problems=batch_problems)
    write_result(result, folder, model={"name": model, "place": place})
    return f"{render_result(result, model)}\nResults: {folder}"


def checkpoint_of(model: str) -> str:
    """Return the checkpoint that a run directory or RUN@STEP stands for; anything else stays as it is.

    Raises:
        RunError: the run has no such checkpoint, or trains something that writes no completions.
    """
    name, at, wanted = model.rpartition("@")
    folder = Path(name if at else model)
    if not (folder / "manifest.json").is_file():
        return model
    directory = RunDirectory.open(folder)
    if directory.kind.name == "reward_model":
        raise RunError(f"{folder} trains a reward model. Judge that with: reasonrl rm eval {folder} --pairs FILE")
    return str(directory.checkpoint_at(wanted if at else "")[1])


def _load(place: str, device_name: str) -> tuple[Any, Any]:
    """Load an engine and its tokenizer. Any: their types would import transformers."""
    from reasonrl.engines.local import LocalEngine
    from reasonrl.models.hardware import compute_dtype, find_device
    from reasonrl.models.load import load_model, load_tokenizer

    device = find_device(device_name)
    tokenizer, model = load_tokenizer(place), load_model(place, device)
    dtype = compute_dtype("auto", device, model.config.get_text_config().hidden_size)
    return LocalEngine(model, tokenizer, dtype), tokenizer


def _slug(model: str) -> str:
    return model.strip("./~").replace("/", "--").replace("@", "-step-") or "model"
