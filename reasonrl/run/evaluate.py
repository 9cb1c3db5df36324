"""Measure any model on any suite, outside a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from reasonrl.config.settings import SuiteRef
from reasonrl.errors import RunError, StoppedError
from reasonrl.evaluation.clusters import cluster_warnings
from reasonrl.evaluation.files import RESULTS, SAMPLES, write_result
from reasonrl.evaluation.measure import measure
from reasonrl.evaluation.report import render_result
from reasonrl.evaluation.results import SuiteResult
from reasonrl.models import is_remote
from reasonrl.models.folder import context_length, require_model_folder
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.run.check import require_room
from reasonrl.run.checkpoints import checkpoint_of
from reasonrl.run.inputs import load_suite
from reasonrl.scoring.metrics import start_metrics
from reasonrl.system.disk import require_writable

Tell: TypeAlias = Callable[[int, int], None]
"""Is told how many problems are done, and of how many."""


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
    tell: Tell = lambda done, total: None,
) -> str:
    """Measure a model, write the results and return them as text.

    All that can be wrong is found before the model is loaded, the place of the results included.

    Args:
        model: a name, a folder, a run directory or RUN@STEP.
        suite_ref: which suite, and what replaces its own settings.
        plugins: where the suite comes from.
        seed: decides the sampling.
        batch_problems: problems sampled at once.
        device: where the model runs.
        out: folder for the results; None is ``results/MODEL/SUITE``.
        overwrite: replace results that are there.
        tell: is told of every part.

    Raises:
        RunError: there are results already, they cannot be written, or the run has no such checkpoint.
        StoppedError: Ctrl-C was pressed.
    """
    place = checkpoint_of(model)
    if not is_remote(place):
        require_model_folder(place)
    suite = load_suite(suite_ref, plugins)
    require_room(f"max_new_tokens of suite {suite.name!r}", suite.max_new_tokens, _context_length(place), model)
    folder = out or Path("results") / _slug(model) / suite.name
    _require_place(folder, overwrite)
    done = 0

    def count(problems: int, total: int) -> None:
        nonlocal done
        done = problems
        tell(problems, total)

    try:
        result = _measured(suite, place, plugins, device, seed, batch_problems, count)
    except KeyboardInterrupt:
        lost = f"{done} of {len(suite.problems)} problems were measured, and nothing is written"
        raise StoppedError(f"stopped: {lost}. Give the command again to measure all of them.") from None
    write_result(result, folder, model={"name": model, "place": place})
    warnings = [f"warning: {warning}" for warning in cluster_warnings(suite)]
    return "\n".join([*warnings, render_result(result, model), f"Results: {folder}"])


def _measured(
    suite: Suite, place: str, plugins: Plugins, device: str, seed: int, batch_problems: int, tell: Tell
) -> SuiteResult:
    with start_metrics([suite]) as metrics:  # before the model is loaded: a bad metric is refused at once
        engine, tokenizer = _load(place, device)
        renderer = Renderer(tokenizer, find_template(suite.template, plugins))
        tell(0, len(suite.problems))
        return measure(
            suite, engine, renderer, metrics=metrics, seed=seed, batch_problems=batch_problems, progress=tell
        )


def _context_length(place: str) -> int | None:
    return None if is_remote(place) else context_length(place)


def _require_place(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds results, or cannot hold any.

    Raises:
        RunError: it does, or cannot.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"--out {folder}: that is a file. Name a folder for the results.")
    if (folder / RESULTS).exists() and not overwrite:
        raise RunError(f"{folder} holds results already. Give --out FOLDER, or --overwrite to replace them.")
    if (folder / SAMPLES).exists() and not (folder / RESULTS).exists():
        raise RunError(f"{folder / SAMPLES} is there, but no {RESULTS}: it is not of an evaluation. Give --out FOLDER.")
    require_writable(folder / RESULTS, "then measure the model again, or give --out FOLDER.")


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
