"""Probe a model for what it has seen of a suite: sample the continuations, and write them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from reasonrl.config.settings import SuiteRef
from reasonrl.errors import DataError, RunError
from reasonrl.evaluation.contamination import (
    MIN_WORDS,
    SHARE,
    Completed,
    Contamination,
    probe_suites,
    probes,
    renumbered,
)
from reasonrl.evaluation.measure import measure_all
from reasonrl.evaluation.sources import EngineSource, SampleSource
from reasonrl.evaluation.suite_run import SuitePlan, SuiteProgress
from reasonrl.models import is_remote
from reasonrl.models.folder import require_model_folder
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.run.checkpoints import checkpoint_of
from reasonrl.run.evaluation_source import is_url, open_source, require_engine
from reasonrl.run.inputs import load_suite
from reasonrl.scoring.metrics import start_metrics
from reasonrl.system.atomic import write_together
from reasonrl.system.disk import require_writable
from reasonrl.types import Problem

FIGURES: Final = "contamination.json"
PAIRS: Final = "completions.jsonl"
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """What is asked of the probe."""

    model: str
    """A model's name or folder, a run directory, RUN@STEP, or the name at an endpoint."""
    suite: SuiteRef
    control: SuiteRef | None = None
    """A suite that the model cannot have seen; None takes the suite's problems with other numbers."""
    engine: str = "local"
    device: str = "auto"
    share: float = SHARE
    """Share of a problem's words that the model is given."""
    num_problems: int | None = None
    """Only the first problems of each suite; None takes all."""
    max_concurrent: int | None = None
    out: Path = Path("results")
    """The files go to ``OUT/MODEL/contamination/SUITE``."""
    overwrite: bool = False


def probe_model(
    request: ProbeRequest, plugins: Plugins, *, tell: Callable[[SuiteProgress], None] = lambda told: None
) -> tuple[Contamination, Path]:
    """Let a model continue the problems of a suite and of a control, and write figures and texts.

    Returns:
        What was found, and the folder of the files.

    Raises:
        DataError: no problem is long enough, or none has a number.
        RunError: there is a probe already, or it cannot be written.
        ReasonRLError: the model or a suite cannot be loaded.
    """
    require_engine(request.engine, plugins)
    place = request.model if is_url(request.engine) else checkpoint_of(request.model)
    if not is_url(request.engine) and not is_remote(place):
        require_model_folder(place)
    suite = load_suite(request.suite, plugins)
    folder = request.out / _slug(request.model) / "contamination" / _slug(suite.name)
    _require_place(folder, request.overwrite)
    problems = suite.problems[: request.num_problems]
    control = _control(request, plugins, suite)
    num_controls = len(control.problems) if request.control else len(problems)
    sides = [
        _Side(suite.name, len(problems), _require_probes(suite.name, problems, request.share)),
        _Side(control.name, num_controls, _require_probes(control.name, control.problems, request.share)),
    ]
    found = _sampled(request, place, plugins, sides, tell)
    _write(found, folder)
    return found, folder


@dataclass(frozen=True, slots=True)
class _Side:
    """The suite or its control."""

    name: str
    num_problems: int
    probes: Sequence[Problem]


def _control(request: ProbeRequest, plugins: Plugins, suite: Suite) -> Suite:
    if request.control is not None:
        other = load_suite(request.control, plugins)
        return replace(other, problems=other.problems[: request.num_problems])
    changed = renumbered(suite.problems[: request.num_problems])
    if not changed:
        raise DataError("none of the problems has a number to change: name a control suite (--control).")
    return replace(suite, name="other numbers", problems=changed)


def _require_probes(name: str, problems: Sequence[Problem], share: float) -> Sequence[Problem]:
    found = probes(problems, share)
    if not found:
        raise DataError(f"suite {name!r}: no problem has {MIN_WORDS} words, so there is no rest to be completed.")
    return found


def _sampled(
    request: ProbeRequest,
    place: str,
    plugins: Plugins,
    sides: Sequence[_Side],
    tell: Callable[[SuiteProgress], None],
) -> Contamination:
    sizing = [suite for side in sides for suite in probe_suites(side.name, side.probes, _characters(side.probes))]
    source = open_source(
        place,
        request.engine,
        sizing,
        plugins=plugins,
        device=request.device,
        max_concurrent=request.max_concurrent,
    )
    try:
        suite, control = (_completed(side, source, request, tell) for side in sides)
    finally:
        source.close()
    return Contamination(model=request.model, share=request.share, suite=suite, control=control)


def _completed(
    side: _Side, source: SampleSource, request: ProbeRequest, tell: Callable[[SuiteProgress], None]
) -> Completed:
    suites = list(probe_suites(side.name, side.probes, _tokens(source, side.probes)))
    with start_metrics(suites) as metrics:
        results = measure_all(
            [SuitePlan(suite=suite) for suite in suites],
            source,
            metrics=metrics,
            seed=0,
            max_concurrent=request.max_concurrent,
            progress=tell,
        )
    return Completed.of(side.name, results, side.probes, side.num_problems)


def _tokens(source: SampleSource, found: Sequence[Problem]) -> list[int]:
    """Return how many tokens the rest of each text has; where there is no tokenizer, no more than characters."""
    if not isinstance(source, EngineSource):
        return _characters(found)
    return [len(source.tokenizer(one.answer, add_special_tokens=False)["input_ids"]) + 1 for one in found]


def _characters(found: Sequence[Problem]) -> list[int]:
    return [len(problem.answer) for problem in found]


def _require_place(folder: Path, overwrite: bool) -> None:
    if (folder / FIGURES).exists() and not overwrite:
        raise RunError(f"{folder} holds a probe already. Give --out FOLDER, or --overwrite to replace it.")
    require_writable(folder / FIGURES, "then probe the model again, or give --out FOLDER.")


def _write(found: Contamination, folder: Path) -> None:
    """Write the figures, and every text with its completion."""
    figures = json.dumps({"schema_version": SCHEMA_VERSION, **found.as_json()}, indent=2, ensure_ascii=False)
    rows = [
        json.dumps({"side": side, **asdict(row)}, ensure_ascii=False)
        for side, one in (("suite", found.suite), ("control", found.control))
        for row in one.rows
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_together({folder / PAIRS: ("\n".join(rows) + "\n").encode(), folder / FIGURES: figures.encode() + b"\n"})


def _slug(name: str) -> str:
    return name.strip("./~").replace("/", "--").replace("@", "-step-") or "model"
