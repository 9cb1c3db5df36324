"""Held-out suites and metrics. Each module is imported when somebody asks for the list, not before."""

from collections.abc import Mapping

from reasonrl import MetricFn, SuiteFn, hookimpl


@hookimpl
def reasonrl_suites() -> Mapping[str, SuiteFn]:
    """Offer the suites of this package."""
    from reasonrl_evals.files import jsonl
    from reasonrl_evals.generated import addition_two_digit, arithmetic, countdown
    from reasonrl_evals.gsm8k import gsm8k
    from reasonrl_evals.gym import reasoning_gym
    from reasonrl_evals.math500 import math500
    from reasonrl_evals.programs import code_jsonl, functions, humaneval, mbpp

    return {
        "addition_two_digit": addition_two_digit,
        "arithmetic": arithmetic,
        "code_jsonl": code_jsonl,
        "countdown": countdown,
        "functions": functions,
        "gsm8k": gsm8k,
        "humaneval": humaneval,
        "jsonl": jsonl,
        "math500": math500,
        "mbpp": mbpp,
        "reasoning_gym": reasoning_gym,
    }


@hookimpl
def reasonrl_metrics() -> Mapping[str, MetricFn]:
    """Offer the metrics of this package."""
    from reasonrl_evals.metrics import METRICS

    return METRICS
