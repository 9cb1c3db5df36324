"""The figures that a run is judged by, written down before its first step: ``preregistration.json``.

A figure that was chosen after it was seen says less than its p-value: what the run file does not name is exploratory.
The manifest has the hash of the file, and a run whose file was changed does not go on.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from reasonrl.config.settings import PrimaryFigure, RunConfig
from reasonrl.errors import ConfigError, RunError, and_known
from reasonrl.evaluation.figures import MAIN, RATES, is_lower_better, label
from reasonrl.evaluation.primaries import PREREGISTRATION, RECORDED_SHA, Primary
from reasonrl.evaluation.setup import suite_sha
from reasonrl.plugins.types import Suite
from reasonrl.run.files.directory import RunDirectory

SCHEMA_VERSION: Final = 1


def require_measured(config: RunConfig, suites: Sequence[Suite], *, has_rewards: bool) -> None:
    """Refuse a primary figure that the run does not measure.

    Args:
        config: the run.
        suites: those that it measures.
        has_rewards: whether its rewards score held-out completions.

    Raises:
        ConfigError: there is no such suite, or it has no such figure; the message has the nearest names.
    """
    by_name = {suite.name: suite for suite in suites}
    for index, primary in enumerate(config.evaluation.primary):
        where = f"evaluation.primary.{index}"
        if primary.suite not in by_name:
            raise ConfigError(f"{where}.suite: no suite {primary.suite!r}.{and_known(primary.suite, list(by_name))}")
        names = list(figure_names(by_name[primary.suite], has_rewards=has_rewards))
        if primary.metric not in names:
            raise ConfigError(
                f"{where}.metric: suite {primary.suite!r} has no figure {primary.metric!r}."
                f"{and_known(primary.metric, names)}"
            )


def figure_names(suite: Suite, *, has_rewards: bool) -> Iterator[str]:
    """Yield the figures that results of a suite have, as far as that is known before anything is measured."""
    yield from dict.fromkeys((MAIN, label(MAIN, suite.num_samples)))
    yield from suite.further_metrics
    yield from RATES
    powers = {1 << exponent for exponent in range(1, suite.num_samples.bit_length())}
    for k in sorted({*powers, suite.num_samples} - {1}):
        yield from (f"pass@{k}", f"pass^{k}", f"maj@{k}", *([f"best@{k}"] if has_rewards else []))


def preregistration(config: RunConfig, suites: Sequence[Suite]) -> bytes | None:
    """Return the file's content; None where the run file names no figure."""
    if not config.evaluation.primary:
        return None
    by_name = {suite.name: suite for suite in suites}
    primary = [_described(each, by_name[each.suite]) for each in config.evaluation.primary]
    content = {"schema_version": SCHEMA_VERSION, "run": config.name, "seed": config.seed, "primary": primary}
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"


def primaries(config: RunConfig) -> tuple[Primary, ...]:
    """Return the figures as comparisons take them."""
    return tuple(Primary(each.suite, each.metric) for each in config.evaluation.primary)


def require_intact(directory: RunDirectory) -> None:
    """Refuse to go on with a run whose file is not the one that it began with.

    Raises:
        RunError: it was changed, or is gone.
    """
    wanted = (directory.manifest.settings or {}).get(RECORDED_SHA)
    path = directory.path / PREREGISTRATION
    found = sha(path.read_bytes()) if path.is_file() else None
    if wanted == found:
        return
    what = "is gone, which was there" if found is None else "is not the one that was there"
    what = what if wanted else "was not there"
    raise RunError(
        f"{path} {what} when the run began: figures are named before they are seen. Put back what it began with, or "
        f"train on as a run of its own: {directory.kind.command} --fork {directory.path}@STEP name=NEW"
    )


def sha(content: bytes) -> str:
    """Return the SHA-256 of the file, which the manifest records."""
    return hashlib.sha256(content).hexdigest()


def _described(primary: PrimaryFigure, suite: Suite) -> dict[str, Any]:
    """Return a figure with everything that decides how it is measured. Any: JSON values."""
    usual = "lower" if is_lower_better(primary.metric) else "higher"
    return {
        "suite": suite.name,
        "metric": primary.metric,
        "direction": primary.direction or usual,
        "version": suite.version,
        "role": suite.role,
        "num_problems": len(suite.problems),
        "num_samples": suite.num_samples,
        "temperature": suite.temperature,
        "top_p": suite.top_p,
        "max_new_tokens": suite.max_new_tokens,
        "stop": list(suite.stop),
        "template": suite.template,
        "suite_sha": suite_sha(suite.problems),
    }
