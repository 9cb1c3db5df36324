"""Held-out suites and metrics. Each module is imported when somebody asks for the list, not before."""

from collections.abc import Mapping

from reasonrl import MetricFn, SuiteFn, hookimpl


@hookimpl
def reasonrl_suites() -> Mapping[str, SuiteFn]:
    """Offer the suites of this package."""
    from reasonrl_evals.files import jsonl
    from reasonrl_evals.generated import addition_two_digit, arithmetic, countdown
    from reasonrl_evals.gym import reasoning_gym
    from reasonrl_evals.mathematics import SUITES
    from reasonrl_evals.programs import code_jsonl, functions, humaneval, mbpp

    return {
        **SUITES,
        "addition_two_digit": addition_two_digit,
        "arithmetic": arithmetic,
        "code_jsonl": code_jsonl,
        "countdown": countdown,
        "functions": functions,
        "humaneval": humaneval,
        "jsonl": jsonl,
        "mbpp": mbpp,
        "reasoning_gym": reasoning_gym,
    }


@hookimpl
def reasonrl_metrics() -> Mapping[str, MetricFn]:
    """Offer the metrics of this package."""
    from reasonrl_evals import math_metrics, metrics

    return {**metrics.METRICS, **math_metrics.METRICS}
