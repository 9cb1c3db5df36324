"""What ``results.json`` holds: every figure with its errors and interval, and what decides them.

It has the keys of lm-evaluation-harness (``results``, ``n-samples``, ``versions``, ``configs`` and their like) beside
ours, so that programs which read those files read these. Left out of that format: groups, and the description of the
machine, which the run's manifest holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from reasonrl.evaluation.estimates import Estimate
from reasonrl.evaluation.figures import figures, is_lower_better, label, missing_figures
from reasonrl.evaluation.results import SuiteResult


def summarize(
    result: SuiteResult, model: Mapping[str, object], about: Mapping[str, object], ks: Sequence[int]
) -> dict[str, object]:
    """Return the content of ``results.json`` but for the hash of the samples.

    Args:
        result: what was measured.
        model: what is known of the model, as JSON values.
        about: what else is known, under keys of its own: ``engine``, ``suite_ref``, ``metric``.
        ks: as in :func:`reasonrl.evaluation.figures.figures`.
    """
    estimates = figures(result, ks)
    return {
        "suite": _suite(result),
        "model": dict(model),
        **about,
        "sampling": asdict(result.sampling) | {"seed": result.seed},
        **harness_keys(result, model, estimates),
        "metrics": [_metric(name, estimate, result) for name, estimate in estimates.items()],
        "missing": list(missing_figures(result)),
        "rates": {name: estimate.value for name, estimate in estimates.items() if is_lower_better(name)},
        "completions": {"sampled": len(result.rows), "scored": result.num_scored},
        "mean_tokens": result.mean_tokens,
        "timing": {"seconds": result.seconds},
    }


def harness_keys(
    result: SuiteResult, model: Mapping[str, object], estimates: Mapping[str, Estimate]
) -> dict[str, object]:
    """Return what readers of lm-evaluation-harness's results look for."""
    name, num_problems = result.name, result.num_problems
    rows = {"name": name, "alias": name, "sample_len": num_problems}
    better = {metric: not is_lower_better(metric) for metric in estimates}
    return {
        "results": {name: rows | _harness_metrics(estimates)},
        "group_subtasks": {name: []},
        "configs": {name: _harness_task(result, better)},
        "versions": {name: result.version},
        "n-shot": {name: 0},
        "higher_is_better": {name: better},
        "n-samples": {name: {"original": result.num_problems_in_suite or num_problems, "effective": num_problems}},
        "config": _harness_config(result, model),
        "task_hashes": {name: result.suite_sha},
    }


def _suite(result: SuiteResult) -> dict[str, object]:
    return {
        "name": result.name,
        "version": result.version,
        "role": result.role,
        "suite_sha": result.suite_sha,
        "prompt_sha": result.prompt_sha,
        "template": result.template,
        "num_problems": result.num_problems,
        "num_problems_in_suite": result.num_problems_in_suite,
    }


def _harness_metrics(estimates: Mapping[str, Estimate]) -> dict[str, object]:
    """Return figures and their errors under the keys of lm-evaluation-harness: ``metric,filter``."""
    values = {f"{name},none": estimate.value for name, estimate in estimates.items()}
    errors = {f"{name}_stderr,none": estimate.standard_error for name, estimate in estimates.items()}
    return {**values, **errors}


def _harness_task(result: SuiteResult, better: Mapping[str, bool]) -> dict[str, object]:
    return {
        "task": result.name,
        "output_type": "generate_until",
        "repeats": result.sampling.num_samples,
        "num_fewshot": 0,
        "generation_kwargs": _generation(result),
        "metric_list": [{"metric": name, "higher_is_better": higher} for name, higher in better.items()],
        "metadata": {"version": result.version},
    }


def _generation(result: SuiteResult) -> dict[str, object]:
    sampling = result.sampling
    return {
        "until": list(sampling.stop),
        "do_sample": sampling.temperature > 0,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_gen_toks": sampling.max_new_tokens,
    }


def _harness_config(result: SuiteResult, model: Mapping[str, object]) -> dict[str, object]:
    seeds = ("random_seed", "numpy_seed", "torch_seed", "fewshot_seed")
    return {
        "model": "reasonrl",
        "model_args": {key: value for key, value in model.items() if value is not None},
        "limit": None if result.num_problems_in_suite is None else result.num_problems,
        "gen_kwargs": _generation(result),
        **dict.fromkeys(seeds, result.seed),
    }


def _metric(name: str, estimate: Estimate, result: SuiteResult) -> dict[str, object]:
    return {
        "id": name,
        "label": label(name, result.sampling.num_samples),
        "value": estimate.value,
        "se": estimate.standard_error,
        "se_sampling": estimate.sampling_error,
        "ci": {key: getattr(estimate, key) for key in ("lower", "upper", "level", "method")},
        "n": estimate.num_problems,
        "clusters": estimate.num_clusters,
        "higher_is_better": not is_lower_better(name),
    }
