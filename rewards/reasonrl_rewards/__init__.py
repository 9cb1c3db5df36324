"""Rewards that check an answer by a rule. Each module is imported when somebody asks for the list."""

from collections.abc import Mapping

from reasonrl import RewardFn, hookimpl


@hookimpl
def reasonrl_rewards() -> Mapping[str, RewardFn]:
    """Offer the rewards of this package."""
    from reasonrl_rewards.answer import exact_answer, numeric_answer
    from reasonrl_rewards.countdown import countdown
    from reasonrl_rewards.format import r1_format
    from reasonrl_rewards.length import length

    return {
        "countdown": countdown,
        "exact_answer": exact_answer,
        "length": length,
        "numeric_answer": numeric_answer,
        "r1_format": r1_format,
    }
