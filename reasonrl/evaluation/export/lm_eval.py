"""Files as lm-evaluation-harness writes them: ``MODEL/results_TIME.json`` and ``MODEL/samples_TASK_TIME.jsonl``.

Left out: versions of its own software, the description of the machine, and the tokenizer's special tokens.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from reasonrl.evaluation.export.naming import written_at
from reasonrl.evaluation.figures import MAIN, figures
from reasonrl.evaluation.files import Measured, model_name, to_json
from reasonrl.evaluation.results import SampleResult
from reasonrl.evaluation.summary import harness_keys
from reasonrl.system import jsonl


def lm_eval_files(results: Sequence[Measured]) -> Mapping[Path, bytes]:
    """Return the aggregate over all suites, and the samples of each, by their paths."""
    latest = max(map(written_at, results))
    time = latest.replace(tzinfo=None).isoformat(timespec="microseconds").replace(":", "-")
    folder = Path(_sanitized(model_name(results[0].model)))
    samples = {measured.result.name: _samples(measured) for measured in results}
    files = {folder / f"results_{time}.json": to_json(_aggregate(results, samples))}
    return files | {
        folder / f"samples_{_sanitized(name)}_{time}.jsonl": jsonl.encode(rows) for name, rows in samples.items()
    }


def _sanitized(name: str) -> str:
    """Return a name as lm-evaluation-harness makes a folder of it."""
    return re.sub(r"[\"<>:/|\\?*\[\]]+", "__", name)


def _aggregate(results: Sequence[Measured], samples: Mapping[str, Sequence[Mapping[str, object]]]) -> dict[str, object]:
    """Return what one call of lm-evaluation-harness over all suites would have written."""
    found: dict[str, object] = {}
    for measured in results:
        for key, value in harness_keys(measured.result, measured.model, figures(measured.result)).items():
            merged = found.setdefault(key, {})
            assert isinstance(merged, dict)
            assert isinstance(value, dict)
            merged |= value
    end = max(map(written_at, results)).timestamp()
    seconds = sum(measured.result.seconds for measured in results)
    name = model_name(results[0].model)
    return {
        **found,
        "date": end - seconds,
        "git_hash": None,
        "model_source": "reasonrl",
        "model_name": name,
        "model_name_sanitized": _sanitized(name),
        "task_hashes": {task: _task_hash(rows) for task, rows in samples.items()},
        "start_time": end - seconds,
        "end_time": end,
        "total_evaluation_time_seconds": str(seconds),
    }


def _task_hash(rows: Sequence[Mapping[str, object]]) -> str:
    return _hash("".join(f"{row['doc_hash']}{row['prompt_hash']}{row['target_hash']}" for row in rows))


def _samples(measured: Measured) -> list[dict[str, object]]:
    """Return a row for each problem, with the mean of each metric over its samples."""
    problems = measured.result.samples_by_problem().values()
    kwargs = harness_keys(measured.result, measured.model, {})["config"]
    assert isinstance(kwargs, dict)
    return [_row(number, rows, kwargs["gen_kwargs"]) for number, rows in enumerate(problems)]


def _row(number: int, rows: Sequence[SampleResult], generation: object) -> dict[str, object]:
    first = rows[0]
    doc = {"id": first.problem_id, "prompt": first.prompt, "answer": first.answer}
    metrics = {MAIN: sum(row.value for row in rows) / len(rows)}
    for name in first.metrics:
        metrics[name] = sum(row.metrics.get(name, 0.0) for row in rows) / len(rows)
    completions = [row.completion for row in rows]
    return {
        "doc_id": number,
        "doc": doc,
        "target": first.answer,
        "arguments": {"gen_args_0": {"arg_0": first.prompt, "arg_1": generation}},
        "resps": [completions],
        "filtered_resps": completions,
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(first.prompt),
        "target_hash": _hash(first.answer),
        **metrics,
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
