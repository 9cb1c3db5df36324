"""The two files of an evaluation: results.json for figures, samples.jsonl for completions.

``results.json`` has the keys of lm-evaluation-harness (``results``, ``n-samples``, ``versions``) beside ours,
so that programs which read those files read these. Left out of that format: groups, few-shot counts and the
description of the machine, which the run's manifest holds.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from reasonrl.errors import DataError
from reasonrl.evaluation.estimates import Estimate
from reasonrl.evaluation.results import SuiteResult
from reasonrl.system.atomic import write_together
from reasonrl.system.disk import disk_errors

RESULTS: Final = "results.json"
SAMPLES: Final = "samples.jsonl"
SCHEMA_VERSION: Final = 1


def write_result(
    result: SuiteResult, folder: Path, *, model: Mapping[str, object], then: str = "then measure the model again."
) -> None:
    """Write both files into a folder, or leave what it held as it was.

    ``results.json`` comes last and holds the hash of the samples: a folder that a kill left half replaced says so
    when it is read.

    Args:
        result: what to write.
        folder: where; made if it is missing.
        model: what is known of the model, as JSON values: its name, path, step, policy version.
        then: what a message about the disk ends with: what to do once there is space again.

    Raises:
        RunError: the disk is full, or may not be written.
    """
    samples = "".join(_json(asdict(row)) + "\n" for row in result.rows).encode()
    summary = _json(_summary(result, model, samples), indent=2) + "\n"
    with disk_errors(folder, then):
        folder.mkdir(parents=True, exist_ok=True)
        write_together({folder / SAMPLES: samples, folder / RESULTS: summary.encode()})


def read_result(folder: Path) -> SuiteResult:
    """Read back what :func:`write_result` wrote.

    Raises:
        DataError: a file is missing or damaged, or has another schema version.
    """
    summary, samples = _read_summary(folder / RESULTS), _read_bytes(folder / SAMPLES)
    if _sha(samples) != summary.get("samples_sha"):
        raise _damaged(folder / SAMPLES, f"it is not the file that {RESULTS} was written with")
    try:
        fields = {
            **summary["suite"],
            "sampling": summary["sampling"],
            "seed": summary["sampling"]["seed"],
            "seconds": summary["timing"]["seconds"],
            "rows": [json.loads(line) for line in samples.decode().split("\n") if line],
        }
        return TypeAdapter(SuiteResult).validate_python(fields)
    except KeyError as error:
        raise _damaged(folder / RESULTS, f"it has no {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(folder / RESULTS, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def metric_estimates(result: SuiteResult) -> dict[str, Estimate]:
    """Return every figure of a suite by name: ``exact``, and ``pass@n`` where n samples allow one."""
    estimates = {"exact": result.estimate()}
    k = result.sampling.num_samples
    if k > 1 and result.all_or_nothing:
        estimates[f"pass@{k}"] = result.mean(result.pass_at_k_by_problem(k))
    return estimates


def _summary(result: SuiteResult, model: Mapping[str, object], samples: bytes) -> dict[str, object]:
    estimates = metric_estimates(result)
    num_problems = estimates["exact"].num_problems
    return {
        "schema_version": SCHEMA_VERSION,
        "suite": _suite(result, num_problems),
        "model": dict(model),
        "sampling": asdict(result.sampling) | {"seed": result.seed},
        "results": {result.name: {"alias": result.name} | _harness_metrics(estimates)},
        "n-samples": {result.name: {"original": num_problems, "effective": num_problems}},
        "versions": {result.name: result.version},
        "higher_is_better": {result.name: dict.fromkeys(estimates, True)},
        "task_hashes": {result.name: result.suite_sha},
        "metrics": [_metric(name, estimate) for name, estimate in estimates.items()],
        "rates": {"truncated": result.truncated, "unparsed": result.unparsed},
        "mean_tokens": result.mean_tokens,
        "timing": {"seconds": result.seconds},
        "samples_sha": _sha(samples),
    }


def _suite(result: SuiteResult, num_problems: int) -> dict[str, object]:
    return {
        "name": result.name,
        "version": result.version,
        "role": result.role,
        "suite_sha": result.suite_sha,
        "prompt_sha": result.prompt_sha,
        "template": result.template,
        "num_problems": num_problems,
    }


def _harness_metrics(estimates: Mapping[str, Estimate]) -> dict[str, object]:
    """Return figures and their errors under the keys of lm-evaluation-harness: ``metric,filter``."""
    values = {f"{name},none": estimate.value for name, estimate in estimates.items()}
    errors = {f"{name}_stderr,none": estimate.standard_error for name, estimate in estimates.items()}
    return {**values, **errors}


def _metric(name: str, estimate: Estimate) -> dict[str, object]:
    interval = {key: getattr(estimate, key) for key in ("lower", "upper", "level", "method")}
    return {
        "id": name,
        "value": estimate.value,
        "se": estimate.standard_error,
        "ci": interval,
        "n": estimate.num_problems,
        "clusters": estimate.num_clusters,
    }


def _read_summary(path: Path) -> dict[str, Any]:
    """Any: JSON, checked by the caller."""
    try:
        summary = json.loads(_read_bytes(path))
    except ValueError:
        raise _damaged(path, "it is not JSON") from None
    if not isinstance(summary, dict):
        raise _damaged(path, "it is not a JSON object")
    if summary.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f"{path}: its schema_version is {summary.get('schema_version')!r}, but this reasonrl reads "
            f"{SCHEMA_VERSION}. Measure the model again."
        )
    return summary


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror}. A folder of results has {RESULTS} and {SAMPLES}."
        ) from None


def _damaged(path: Path, cause: str) -> DataError:
    return DataError(f"{path}: damaged: {cause}. Measure the model again.")


def _json(value: object, indent: int | None = None) -> str:
    """NaN is refused: strict readers of JSON do not take it."""
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
