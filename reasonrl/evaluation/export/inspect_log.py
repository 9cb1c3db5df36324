"""Logs that ``inspect view`` opens (EvalLog, version 2): one JSON file a suite, with each sample as an epoch.

Left out of the format: events, attachments, and the model's calls one by one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from reasonrl.evaluation.estimates import Estimate
from reasonrl.evaluation.export.naming import file_name, packages, written_at
from reasonrl.evaluation.figures import MAIN, RATES, figures
from reasonrl.evaluation.files import Measured, model_name, to_json
from reasonrl.evaluation.results import SampleResult, SuiteResult
from reasonrl.types import digest


def inspect_logs(results: Sequence[Measured]) -> Mapping[Path, bytes]:
    """Return a log for each suite, by the name that inspect would give it."""
    return {Path(_file_name(measured)): to_json(inspect_log(measured)) for measured in results}


def _file_name(measured: Measured) -> str:
    time = written_at(measured).isoformat(timespec="seconds").replace(":", "-")
    return f"{time}_{file_name(measured.result.name)}_{_id(measured)}.json"


def _id(measured: Measured) -> str:
    result = measured.result
    return digest(model_name(measured.model), result.suite_sha, result.prompt_sha, result.seed, written_at(measured))


def inspect_log(measured: Measured) -> dict[str, object]:
    """Return a result as an EvalLog."""
    result = measured.result
    return {
        "version": 2,
        "status": "success",
        "eval": _spec(measured),
        "plan": {"name": "plan", "steps": [], "config": _config(result)},
        "results": _results(result),
        "stats": _stats(measured),
        "samples": [_sample(row, model_name(measured.model)) for row in result.rows],
        "reductions": [_reduction(result)],
    }


def _spec(measured: Measured) -> dict[str, object]:
    result = measured.result
    return {
        "created": written_at(measured).isoformat(),
        "task": result.name,
        "task_id": _id(measured),
        "run_id": _id(measured),
        "eval_id": _id(measured),
        "task_version": result.version,
        "task_args": {},
        "dataset": {
            "name": result.name,
            "samples": result.num_problems,
            "sample_ids": list(result.samples_by_problem()),
            "shuffled": False,
        },
        "model": model_name(measured.model),
        "model_args": {},
        "config": {"epochs": result.sampling.num_samples, "epochs_reducer": ["mean"], **_limit(result)},
        "packages": packages(),
        "metadata": {
            "role": result.role,
            "suite_sha": result.suite_sha,
            "prompt_sha": result.prompt_sha,
            "template": result.template,
            "num_problems_in_suite": result.num_problems_in_suite,
            **measured.about,
        },
    }


def _limit(result: SuiteResult) -> dict[str, int]:
    return {} if result.num_problems_in_suite is None else {"limit": result.num_problems}


def _config(result: SuiteResult) -> dict[str, object]:
    sampling = result.sampling
    return {
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": result.seed,
        **({"stop_seqs": list(sampling.stop)} if sampling.stop else {}),
    }


def _stats(measured: Measured) -> dict[str, object]:
    """Return the time taken; what was written at the end began so much earlier."""
    end = written_at(measured).timestamp()
    start = written_at(measured).fromtimestamp(end - measured.result.seconds, tz=written_at(measured).tzinfo)
    total = sum(row.num_tokens for row in measured.result.rows)
    usage = {"input_tokens": 0, "output_tokens": total, "total_tokens": total}
    return {
        "started_at": start.isoformat(),
        "completed_at": written_at(measured).isoformat(),
        "model_usage": {model_name(measured.model): usage},
    }


def _results(result: SuiteResult) -> dict[str, object]:
    """Return the figures: the suite's with its errors, then the rates, and a score for each further figure."""
    estimates = figures(result)
    main, rates = estimates.pop(MAIN), {name: estimates.pop(name) for name in RATES}
    scores = [
        _score(MAIN, "mean", _main_metrics(main)),
        _score("rates", "mean", {name: estimate.value for name, estimate in rates.items()}),
        *(_score(name, _reducer(name), _metrics(estimate)) for name, estimate in estimates.items()),
    ]
    return {
        "total_samples": len(result.rows),
        "completed_samples": result.num_scored,
        "scores": scores,
    }


def _score(name: str, reducer: str, metrics: Mapping[str, float]) -> dict[str, object]:
    named = {metric: {"name": metric, "value": value, "params": {}} for metric, value in metrics.items()}
    return {"name": name, "scorer": name, "reducer": reducer, "params": {}, "metrics": named}


def _reducer(name: str) -> str:
    """Return inspect's word for how samples of a problem become one value: ``pass_at_8``, ``pass_k_8``."""
    return name.replace("pass^", "pass_k_").replace("@", "_at_") if "@" in name or "^" in name else "mean"


def _metrics(estimate: Estimate) -> dict[str, float]:
    return {
        "accuracy": estimate.value,
        "stderr": estimate.standard_error,
        "ci_lower": estimate.lower,
        "ci_upper": estimate.upper,
    }


def _main_metrics(estimate: Estimate) -> dict[str, float]:
    error = estimate.sampling_error
    return _metrics(estimate) | ({} if error is None else {"se_sampling": error})


def _sample(row: SampleResult, model: str) -> dict[str, object]:
    answer = {"role": "assistant", "content": row.completion, "source": "generate", "model": model}
    usage = {"input_tokens": 0, "output_tokens": row.num_tokens, "total_tokens": row.num_tokens}
    stop = "max_tokens" if row.finish_reason == "length" else "stop"
    return {
        "id": row.problem_id,
        "epoch": row.sample_index + 1,
        "input": row.prompt,
        "target": row.answer,
        "messages": [{"role": "user", "content": row.prompt, "source": "input"}, answer],
        "output": {
            "model": model,
            "choices": [{"message": answer, "stop_reason": stop}],
            "usage": usage,
            "completion": row.completion,
        },
        "model_usage": {model: usage},
        "scores": _scores(row),
        "metadata": _metadata(row),
    }


def _scores(row: SampleResult) -> dict[str, object]:
    own = {"value": row.value, "answer": row.parsed, "explanation": row.why or None}
    return {MAIN: own, **{name: {"value": value} for name, value in row.metrics.items()}}


def _metadata(row: SampleResult) -> dict[str, object]:
    found: dict[str, object] = {"seed": row.seed, "outcome": row.outcome, "truncated": row.finish_reason == "length"}
    if row.cluster is not None:
        found["cluster"] = row.cluster
    if row.reward is not None:
        found |= {"reward": row.reward, "rewards": dict(row.rewards)}
    return found


def _reduction(result: SuiteResult) -> dict[str, object]:
    samples = [{"value": value, "sample_id": problem_id} for problem_id, value in result.values_by_problem().items()]
    return {"scorer": MAIN, "reducer": "mean", "samples": samples}
