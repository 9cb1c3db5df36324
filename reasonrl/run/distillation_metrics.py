"""How far the policy is from its teacher, on what it has sampled in a step."""

import math
from collections.abc import Sequence
from statistics import fmean

from reasonrl.types import Group, RewardResult, RewardResults, Trajectory


def distillation_metrics(sampled: Sequence[tuple[Group, RewardResults]]) -> dict[str, float]:
    """Return estimates of KL(policy || teacher) from the sampled tokens, in nats; nothing without a teacher.

    ``kl`` is the mean of ``log(sampler / teacher)`` over tokens, ``kl_sequence`` that of its sums over completions;
    ``logprob`` is what the teacher gives a token.
    """
    found = [
        (trajectory, result)
        for group, results in sampled
        for trajectory, result in zip(group.trajectories, results, strict=True)
        if result.teacher is not None
    ]
    ratios = [_log_ratios(*each) for each in found]
    tokens = [ratio for of_tokens in ratios for ratio in of_tokens]
    if not tokens:
        return {}
    return {
        "distillation/kl": fmean(tokens),
        "distillation/kl_sequence": fmean(map(math.fsum, ratios)),
        "distillation/logprob": fmean(
            logprob for _, result in found if result.teacher is not None for logprob in result.teacher.logprobs
        ),
    }


def _log_ratios(trajectory: Trajectory, result: RewardResult) -> list[float]:
    """Return ``log(sampler / teacher)`` of each token that the policy chose."""
    assert result.teacher is not None, "it is chosen by that"
    chosen = (logprob for logprob, is_chosen in zip(trajectory.logprobs, trajectory.mask, strict=True) if is_chosen)
    return [logprob - said for logprob, said in zip(chosen, result.teacher.logprobs, strict=True)]
