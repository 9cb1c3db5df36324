"""All results under a folder, by suite, with what keeps some of them from being compared with the others."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from reasonrl.errors import DataError, and_known
from reasonrl.evaluation.figures import MAIN, find_figure, is_lower_better, label
from reasonrl.evaluation.files import RESULTS, model_name, read_summary
from reasonrl.evaluation.find import run_directory_of, step_of

OF_SAMPLING: Final = ("num_samples", "temperature", "top_p", "max_new_tokens", "stop")
"""Settings of sampling that decide a figure; the seed does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model's figure on one suite."""

    folder: Path
    model: str
    suite: str
    protocol: Mapping[str, object]
    """What has to be equal for two figures of a suite to be compared, by a name that people understand."""
    figure: str
    """What people call the figure: ``avg@8``."""
    value: float
    lower: float
    upper: float
    num_problems: int
    num_problems_in_suite: int | None
    """Where only the first problems were measured: how many the suite has."""
    truncated: float
    engine: str
    """What sampled; empty where the results do not say."""
    differs: tuple[str, ...] = ()
    """What keeps the figure from being compared with the others of the suite; empty for one that can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Entries by suite; in each, those that can be compared with one another first, the best at the top."""

    suites: Mapping[str, tuple[Entry, ...]]
    left_out: tuple[str, ...]
    """Files and steps that are not in it, and why."""

    def protocol(self, suite: str) -> Mapping[str, object]:
        """Return the protocol of the suite's entries that can be compared with one another."""
        return self.suites[suite][0].protocol


def read_board(
    root: Path, *, suites: Sequence[str] = (), metric: str = MAIN, all_steps: bool = False, by_name: bool = False
) -> Board:
    """Read all results under a folder, those in run directories too.

    Args:
        root: where to look.
        suites: which suites, in this order; all if none are given.
        metric: which figure: ``exact`` (or ``avg@n``), ``pass@8``, ``truncated`` and so on.
        all_steps: every evaluation of a run; else its first and its last of each suite.
        by_name: sort by the model's name in place of the figure.

    Raises:
        DataError: there are no results, or none of a suite or a figure that was asked for.
    """
    summaries, left_out = _summaries(root)
    if not summaries:
        raise DataError(f"{root}: no results of an evaluation ({RESULTS}) in it or below.")
    chosen = summaries if all_steps else dict(_ends(summaries))
    if hidden := len(summaries) - len(chosen):
        left_out.append(f"{hidden} results of steps between a run's first and last: --all-steps shows them")
    by_suite = _by_suite(chosen, suites, root)
    entries = {suite: _entries(found, metric, left_out) for suite, found in by_suite.items()}
    if not any(entries.values()):
        raise DataError(f"{root}: none of the results has a figure {metric!r}.")
    ordered = {suite: _ordered(found, metric, by_name) for suite, found in entries.items() if found}
    return Board(suites=ordered, left_out=tuple(left_out))


def _summaries(root: Path) -> tuple[dict[Path, Mapping[str, Any]], list[str]]:
    """Read every file of figures; those that cannot be read are said to be left out. Any: JSON values."""
    found: dict[Path, Mapping[str, Any]] = {}
    left_out: list[str] = []
    for path in sorted(root.rglob(RESULTS)):
        try:
            found[path.parent] = _checked(read_summary(path.parent), path)
        except DataError as error:
            left_out.append(str(error))
    return found, left_out


def _checked(summary: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    wanted = {"suite": dict, "sampling": dict, "model": dict, "metrics": list}
    for key, kind in wanted.items():
        if not isinstance(summary.get(key), kind):
            raise DataError(f"{path}: damaged: it has no {key!r}. Measure the model again.")
    return summary


def _ends(summaries: Mapping[Path, Mapping[str, Any]]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield all but what a run measured of a suite between its first and its last step."""
    steps: dict[tuple[Path | None, object], list[int]] = {}
    for folder, summary in summaries.items():
        key = run_directory_of(folder), summary["suite"].get("name")
        steps.setdefault(key, []).append(step_of(folder) or 0)
    for folder, summary in summaries.items():
        of_run = steps[run_directory_of(folder), summary["suite"].get("name")]
        step = step_of(folder)
        if step is None or step in (min(of_run), max(of_run)):
            yield folder, summary


def _by_suite(
    summaries: Mapping[Path, Mapping[str, Any]], suites: Sequence[str], root: Path
) -> dict[str, dict[Path, Mapping[str, Any]]]:
    found: dict[str, dict[Path, Mapping[str, Any]]] = {}
    for folder, summary in summaries.items():
        found.setdefault(str(summary["suite"].get("name", folder.name)), {})[folder] = summary
    for suite in suites:
        if suite not in found:
            raise DataError(f"{root}: has no results of suite {suite!r}.{and_known(suite, list(found))}")
    return {suite: found[suite] for suite in suites or sorted(found)}


def _entries(found: Mapping[Path, Mapping[str, Any]], metric: str, left_out: list[str]) -> list[Entry]:
    entries = []
    for folder, summary in found.items():
        try:
            entries.append(_entry(folder, summary, metric))
        except DataError as error:
            left_out.append(str(error))
        except (KeyError, TypeError, AttributeError):
            left_out.append(f"{folder / RESULTS}: damaged: a figure lacks its value, interval or settings.")
    return entries


def _entry(folder: Path, summary: Mapping[str, Any], metric: str) -> Entry:
    suite, sampling = summary["suite"], summary["sampling"]
    metrics = {each["id"]: each for each in summary["metrics"]}
    name = find_figure(metric, metrics, sampling["num_samples"], str(folder))
    figure = metrics[name]
    return Entry(
        folder=folder,
        model=model_name(summary["model"]),
        suite=suite["name"],
        protocol=_protocol(summary),
        figure=label(name, sampling["num_samples"]),
        value=figure["value"],
        lower=figure["ci"]["lower"],
        upper=figure["ci"]["upper"],
        num_problems=figure["n"],
        num_problems_in_suite=suite.get("num_problems_in_suite"),
        truncated=summary["rates"]["truncated"],
        engine=str(summary.get("engine", {}).get("name", "")),
    )


def _protocol(summary: Mapping[str, Any]) -> dict[str, object]:
    suite, sampling = summary["suite"], {"top_p": 1.0, **summary["sampling"]}
    metric = {"metric": summary["metric"]["name"]} if "metric" in summary else {"metric": "the suite's"}
    return {
        "version": suite["version"],
        "problems": suite["suite_sha"],
        "template": suite["template"],
        "prompts": suite["prompt_sha"],
        **{name: _plain(sampling[name]) for name in OF_SAMPLING},
        **metric,
    }


def _plain(value: object) -> object:
    """Return a value that can be counted."""
    return tuple(value) if isinstance(value, list) else value


def _ordered(entries: Sequence[Entry], metric: str, by_name: bool) -> tuple[Entry, ...]:
    """Mark the entries that cannot be compared with the most, and sort."""
    counts = Counter(_key(entry) for entry in entries)
    whole = {_key(entry): entry.num_problems_in_suite is None for entry in entries}
    most = max(whole, key=lambda protocol: (counts[protocol], whole[protocol]))
    common = dict(most)
    marked = [replace(entry, differs=tuple(_differences(entry.protocol, common))) for entry in entries]
    sign = 1 if is_lower_better(metric) else -1
    return tuple(
        sorted(marked, key=lambda one: (bool(one.differs), one.model if by_name else sign * one.value, one.model))
    )


def _key(entry: Entry) -> tuple[tuple[str, object], ...]:
    return tuple(entry.protocol.items())


def _differences(protocol: Mapping[str, object], common: Mapping[str, object]) -> Iterator[str]:
    for name, value in protocol.items():
        if value == common[name]:
            continue
        if name == "problems":
            yield "other problems"
        elif name == "prompts":
            if protocol["problems"] == common["problems"]:  # other problems have other prompts
                yield "other prompts"
        else:
            yield f"{name} {value}, not {common[name]}"
