"""Held-out suites and metrics. Each module is imported when somebody asks for the list, not before."""

from collections.abc import Mapping

from reasonrl import MetricFn, SuiteFn, hookimpl


@hookimpl
def reasonrl_suites() -> Mapping[str, SuiteFn]:
    """Offer the suites of this package."""
    from reasonrl_evals.bbeh import bbeh
    from reasonrl_evals.choices import gpqa_diamond, mmlu_pro
    from reasonrl_evals.contests import apps, codecontests, livecodebench, taco
    from reasonrl_evals.evalplus import humaneval_plus, mbpp_plus
    from reasonrl_evals.files import jsonl
    from reasonrl_evals.generated import addition_two_digit, arithmetic, countdown
    from reasonrl_evals.gym import reasoning_gym
    from reasonrl_evals.instructions import ifbench, ifeval
    from reasonrl_evals.mathematics import SUITES
    from reasonrl_evals.programs import code_jsonl, functions, humaneval, mbpp

    return {
        **SUITES,
        "addition_two_digit": addition_two_digit,
        "apps": apps,
        "arithmetic": arithmetic,
        "bbeh": bbeh,
        "code_jsonl": code_jsonl,
        "codecontests": codecontests,
        "countdown": countdown,
        "functions": functions,
        "gpqa_diamond": gpqa_diamond,
        "humaneval": humaneval,
        "humaneval_plus": humaneval_plus,
        "ifbench": ifbench,
        "ifeval": ifeval,
        "jsonl": jsonl,
        "livecodebench": livecodebench,
        "mbpp": mbpp,
        "mbpp_plus": mbpp_plus,
        "mmlu_pro": mmlu_pro,
        "reasoning_gym": reasoning_gym,
        "taco": taco,
    }


@hookimpl
def reasonrl_metrics() -> Mapping[str, MetricFn]:
    """Offer the metrics of this package."""
    from reasonrl_evals import math_metrics, metrics

    return {**metrics.METRICS, **math_metrics.METRICS}
