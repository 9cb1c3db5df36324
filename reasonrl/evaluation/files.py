"""The two files of an evaluation: results.json for figures, samples.jsonl for completions."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from reasonrl.errors import DataError
from reasonrl.evaluation.results import SuiteResult
from reasonrl.evaluation.summary import summarize
from reasonrl.system import jsonl
from reasonrl.system.atomic import write_together
from reasonrl.system.disk import disk_errors

RESULTS: Final = "results.json"
SAMPLES: Final = "samples.jsonl"
SCHEMA_VERSION: Final = 1
ABOUT: Final = ("engine", "suite_ref", "metric", "touches", "variants")
"""Keys of ``results.json`` that only those know who measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A folder of results, read."""

    folder: Path
    result: SuiteResult
    model: Mapping[str, Any]
    """What is known of the model: its name, place, step. Any: JSON values."""
    about: Mapping[str, Any]
    """What else was written down: ``engine``, ``suite_ref``, ``metric``. Any: JSON values."""


def model_name(model: Mapping[str, Any]) -> str:
    """Return what people call a model, of what results record of it; of a run's, the run and the step. Any: JSON."""
    if "run" in model and "step" in model:
        return f"{model['run']}@{model['step']}"
    return str(model.get("name", "model"))


def write_result(
    result: SuiteResult,
    folder: Path,
    *,
    model: Mapping[str, object],
    about: Mapping[str, object] = MappingProxyType({}),
    ks: Sequence[int] = (),
    then: str = "then measure the model again.",
) -> None:
    """Write both files into a folder, or leave what it held as it was.

    ``results.json`` comes last and holds the hash of the samples: a folder that a kill left half replaced says so
    when it is read.

    Args:
        result: what to write.
        folder: where; made if it is missing.
        model: what is known of the model, as JSON values: its name, path, step, policy version.
        about: what else decides the figures, as JSON values: ``engine`` (``{"name": ..., ...}``), ``suite_ref`` (the
            name and parameters that load the suite), ``metric`` where it is not the suite's own.
        ks: the k of pass@k and its like; powers of two if none are given.
        then: what a message about the disk ends with: what to do once there is space again.

    Raises:
        DataError: a problem has fewer samples than one of ``ks``.
        RunError: the disk is full, or may not be written.
    """
    if unknown := set(about) - set(ABOUT):
        raise ValueError(f"nothing reads {unknown}; known are {ABOUT}")
    samples = jsonl.encode(asdict(row) for row in result.rows)
    summary = {
        "schema_version": SCHEMA_VERSION,
        **summarize(result, model, about, ks),
        "samples_sha": _sha(samples),
    }
    with disk_errors(folder, then):
        folder.mkdir(parents=True, exist_ok=True)
        write_together({folder / SAMPLES: samples, folder / RESULTS: to_json(summary)})


def read_result(folder: Path) -> SuiteResult:
    """Read back what :func:`write_result` wrote.

    Raises:
        DataError: a file is missing or damaged, or has another schema version.
    """
    return read_measured(folder).result


def read_measured(folder: Path) -> Measured:
    """Read a folder of results with what is known of the model; errors are those of :func:`read_result`."""
    summary, samples = read_summary(folder), _read_bytes(folder / SAMPLES)
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
        return Measured(
            folder=folder,
            result=TypeAdapter(SuiteResult).validate_python(fields),
            model=summary["model"],
            about={key: summary[key] for key in ABOUT if key in summary},
        )
    except KeyError as error:
        raise _damaged(folder / RESULTS, f"it has no {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(folder / RESULTS, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def read_summary(folder: Path) -> dict[str, Any]:
    """Read the figures without the completions. Any: JSON, whose keys are those of :mod:`reasonrl.evaluation.summary`.

    Raises:
        DataError: the file is missing or damaged, or has another schema version.
    """
    path = folder / RESULTS
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


def to_json(value: object) -> bytes:
    """Return a value as a JSON file; NaN is refused: strict readers of JSON do not take it."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
