"""Several comparisons at once, corrected over the figures that were named beforehand."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Final

from reasonrl.errors import ConfigError, DataError, and_known
from reasonrl.evaluation.compare import Comparison, compare
from reasonrl.evaluation.figures import find_figure
from reasonrl.evaluation.files import Measured
from reasonrl.evaluation.find import run_directory_of
from reasonrl.evaluation.holm import holm
from reasonrl.system.text import read_text

PREREGISTRATION: Final = "preregistration.json"
"""File of a run directory with the figures that the run file named before the first step."""
RECORDED_SHA: Final = "preregistration.sha"
"""Key of that file's hash among the settings that the run's manifest records."""


@dataclass(frozen=True, slots=True)
class Primary:
    """A figure by which models are judged."""

    suite: str
    metric: str

    @classmethod
    def parse(cls, text: str) -> "Primary":
        """Read ``SUITE/METRIC``.

        Raises:
            ConfigError: it has no such form.
        """
        suite, _, metric = text.rpartition("/")
        if not suite or not metric:
            raise ConfigError(f"--primary {text}: write it as SUITE/METRIC, such as gsm8k/exact.")
        return cls(suite, metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Results of one model, by suite."""

    name: str
    measured: Mapping[str, Measured]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two models compared on one suite."""

    suite: str
    a: str
    b: str
    comparison: Comparison
    engines: tuple[str, str]
    """What sampled them; empty where the results do not say."""


def preregistered(folders: Iterable[Path]) -> tuple[Primary, ...]:
    """Return the figures that the runs of these folders of results named beforehand, each once.

    Raises:
        DataError: a file that says so cannot be read.
    """
    runs = dict.fromkeys(run for folder in folders if (run := run_directory_of(folder)) is not None)
    files = [run / PREREGISTRATION for run in runs if (run / PREREGISTRATION).is_file()]
    return tuple(dict.fromkeys(primary for file in files for primary in _read(file)))


def _read(path: Path) -> list[Primary]:
    content = read_text(path, DataError)
    _require_intact(path)
    try:
        return [Primary(each["suite"], each["metric"]) for each in json.loads(content)["primary"]]
    except (ValueError, KeyError, TypeError):
        raise DataError(
            f"{path}: is damaged: it needs a list `primary` of objects with `suite` and `metric`."
        ) from None


def _require_intact(path: Path) -> None:
    """Refuse figures that were named after the run began."""
    manifest = path.with_name("manifest.json")
    if not manifest.is_file():
        return
    recorded = json.loads(read_text(manifest, DataError)).get("settings") or {}
    if recorded.get(RECORDED_SHA) != hashlib.sha256(path.read_bytes()).hexdigest():
        raise DataError(
            f"{path}: is not the one that was there when the run began: figures are named before they are seen. Put "
            "back what it began with, or name figures with --primary."
        )


def compare_models(
    models: Sequence[Model],
    *,
    all_pairs: bool = False,
    allow_prompt_mismatch: bool = False,
    ks: Sequence[int] = (),
) -> tuple[Pair, ...]:
    """Compare each model with the first on every suite that both were measured on, or every two of them.

    Args:
        models: two or more.
        all_pairs: compare every two models.
        allow_prompt_mismatch: as in :func:`reasonrl.evaluation.compare.compare`.
        ks: as there.

    Raises:
        DataError: two models have no suite in common, or differ in more than the model.
    """
    chosen = combinations(models, 2) if all_pairs else ((models[0], other) for other in models[1:])
    return tuple(pair for a, b in chosen for pair in _compared(a, b, allow_prompt_mismatch, ks))


def _compared(a: Model, b: Model, allow_prompt_mismatch: bool, ks: Sequence[int]) -> list[Pair]:
    common = [suite for suite in a.measured if suite in b.measured]
    if not common:
        raise DataError(
            f"{a.name} has results of {', '.join(a.measured)}, and {b.name} of {', '.join(b.measured)}: "
            "they have no suite in common. Measure both on one."
        )
    return [_pair(suite, a, b, allow_prompt_mismatch, ks) for suite in common]


def _pair(suite: str, a: Model, b: Model, allow_prompt_mismatch: bool, ks: Sequence[int]) -> Pair:
    of_a, of_b = a.measured[suite], b.measured[suite]
    comparison = compare(of_a.result, of_b.result, allow_prompt_mismatch=allow_prompt_mismatch, ks=ks)
    return Pair(suite=suite, a=a.name, b=b.name, comparison=comparison, engines=(engine(of_a), engine(of_b)))


def engine(measured: Measured) -> str:
    """Return the name of what sampled a result; empty where it does not say."""
    return str(measured.about.get("engine", {}).get("name", ""))


def with_primaries(pairs: Sequence[Pair], primaries: Sequence[Primary]) -> tuple[Pair, ...]:
    """Return the comparisons with the primary figures marked and their p-values adjusted by Holm's method.

    Raises:
        DataError: a primary figure is not compared here.
    """
    suites = list(dict.fromkeys(pair.suite for pair in pairs))
    for primary in primaries:
        if primary.suite not in suites:
            raise DataError(
                f"primary {primary.suite}/{primary.metric}: that suite is not compared here."
                f"{and_known(primary.suite, suites)}"
            )
    chosen = [(pair, figure_id) for pair in pairs for figure_id in _primary_ids(pair, primaries)]
    p_values = [_p_value(pair.comparison, figure_id) for pair, figure_id in chosen]
    adjusted = {(id(pair), name): p for (pair, name), p in zip(chosen, holm(p_values), strict=True)}
    return tuple(_marked(pair, adjusted) for pair in pairs)


def _primary_ids(pair: Pair, primaries: Sequence[Primary]) -> list[str]:
    figures = {figure.id: figure for figure in pair.comparison.figures}
    num_samples = pair.comparison.a.sampling.num_samples
    found = (
        find_figure(primary.metric, figures, num_samples, f"primary {primary.suite}/{primary.metric}")
        for primary in primaries
        if primary.suite == pair.suite
    )
    return list(dict.fromkeys(found))


def _p_value(comparison: Comparison, figure_id: str) -> float:
    return next(figure.difference.p_value for figure in comparison.figures if figure.id == figure_id)


def _marked(pair: Pair, adjusted: Mapping[tuple[int, str], float]) -> Pair:
    figures = tuple(
        replace(figure, is_primary=True, adjusted_p=adjusted[id(pair), figure.id])
        if (id(pair), figure.id) in adjusted
        else figure
        for figure in pair.comparison.figures
    )
    return replace(pair, comparison=replace(pair.comparison, figures=figures))
