"""Held-out suites. Each module is imported when somebody asks for the list, not before."""

from collections.abc import Mapping

from reasonrl import SuiteFn, hookimpl


@hookimpl
def reasonrl_suites() -> Mapping[str, SuiteFn]:
    """Offer the suites of this package."""
    from reasonrl_evals.files import jsonl
    from reasonrl_evals.generated import addition_two_digit, arithmetic, countdown
    from reasonrl_evals.gsm8k import gsm8k
    from reasonrl_evals.math500 import math500

    return {
        "addition_two_digit": addition_two_digit,
        "arithmetic": arithmetic,
        "countdown": countdown,
        "gsm8k": gsm8k,
        "jsonl": jsonl,
        "math500": math500,
    }
