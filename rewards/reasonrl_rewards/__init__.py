"""Rewards that check an answer by a rule. Each module is imported when somebody asks for the list."""

from collections.abc import Mapping

from reasonrl import RewardFn, hookimpl


@hookimpl
def reasonrl_rewards() -> Mapping[str, RewardFn]:
    """Offer the rewards of this package."""
    from reasonrl_rewards.answer import exact_answer, normalised_answer, numeric_answer
    from reasonrl_rewards.choice import multiple_choice
    from reasonrl_rewards.code import unit_tests
    from reasonrl_rewards.countdown import countdown
    from reasonrl_rewards.format import r1_format, r1_format_graded, think_format
    from reasonrl_rewards.instructions import instructions
    from reasonrl_rewards.language import language
    from reasonrl_rewards.length import cosine_length, length
    from reasonrl_rewards.math import math
    from reasonrl_rewards.pattern import regex_answer
    from reasonrl_rewards.reasoning_gym import reasoning_gym
    from reasonrl_rewards.repetition import repetition
    from reasonrl_rewards.structured import json_answer

    return {
        "cosine_length": cosine_length,
        "countdown": countdown,
        "exact_answer": exact_answer,
        "instructions": instructions,
        "json_answer": json_answer,
        "language": language,
        "length": length,
        "math": math,
        "multiple_choice": multiple_choice,
        "normalised_answer": normalised_answer,
        "numeric_answer": numeric_answer,
        "r1_format": r1_format,
        "r1_format_graded": r1_format_graded,
        "reasoning_gym": reasoning_gym,
        "regex_answer": regex_answer,
        "repetition": repetition,
        "think_format": think_format,
        "unit_tests": unit_tests,
    }
