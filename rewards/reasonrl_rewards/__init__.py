"""Rewards that check an answer, a format or a length by a rule, or ask a model."""

from collections.abc import Mapping

from reasonrl import hookimpl


@hookimpl
def reasonrl_rewards() -> Mapping[str, str]:
    """Offer the rewards of this package; each is imported when it is used."""
    return {
        "cosine_length": "reasonrl_rewards.length:cosine_length",
        "countdown": "reasonrl_rewards.countdown:countdown",
        "exact_answer": "reasonrl_rewards.answer:exact_answer",
        "instructions": "reasonrl_rewards.instructions:instructions",
        "json_answer": "reasonrl_rewards.structured:json_answer",
        "judge": "reasonrl_rewards.judge.pointwise:judge",
        "judge_group": "reasonrl_rewards.judge.groupwise:judge_group",
        "judge_pairwise": "reasonrl_rewards.judge.pairwise:judge_pairwise",
        "language": "reasonrl_rewards.language:language",
        "length": "reasonrl_rewards.length:length",
        "math": "reasonrl_rewards.math:math",
        "multiple_choice": "reasonrl_rewards.choice:multiple_choice",
        "normalized_answer": "reasonrl_rewards.answer:normalized_answer",
        "numeric_answer": "reasonrl_rewards.answer:numeric_answer",
        "r1_format": "reasonrl_rewards.format:r1_format",
        "r1_format_graded": "reasonrl_rewards.format:r1_format_graded",
        "random": "reasonrl_rewards.chance:random",
        "reasoning_gym": "reasonrl_rewards.reasoning_gym:reasoning_gym",
        "regex_answer": "reasonrl_rewards.pattern:regex_answer",
        "repetition": "reasonrl_rewards.repetition:repetition",
        "think_format": "reasonrl_rewards.format:think_format",
        "unit_tests": "reasonrl_rewards.code:unit_tests",
    }
