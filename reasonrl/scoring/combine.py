"""Several rewards of a group to one result a member: which apply, which gates are shut, what they weigh."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from reasonrl.config.settings import RewardRef
from reasonrl.types import RewardResult, RewardResults, Score


def combine(scores: Mapping[str, Sequence[Score]], refs: Sequence[RewardRef], step: int) -> RewardResults:
    """Return the results on a group's members.

    The total of a member is the sum of ``weight * value`` over the rewards that apply to the problem; a reward that is
    unscorable for every member does not. A reward behind a shut gate counts 0, whatever its own score, so that its
    value is not missed there. Any other value that is missing leaves the member without a total: its sum could not be
    compared with its siblings'. A reward whose weight is 0 in the step is only measured: neither its value nor the lack
    of one changes a total, but through a gate that it opens.

    Args:
        scores: of each reward by its label, one score a member.
        refs: the rewards' weights and gates.
        step: number of the step, for weights that move.
    """
    weights = {ref.key: ref.weight_at(step) for ref in refs}
    applying = [ref.key for ref in refs if any(score.outcome != "unscorable" for score in scores[ref.key])]
    members = [{ref.key: scores[ref.key][index] for ref in refs} for index in range(len(scores[refs[0].key]))]
    return tuple(_result(member, applying, weights, {ref.key: ref for ref in refs}) for member in members)


def needed_rewards(refs: Sequence[RewardRef], step: int) -> frozenset[str]:
    """Return the labels of the rewards that something depends on in a step: those with a weight, and their gates."""
    gates = {ref.key: ref.gate for ref in refs}
    needed = {ref.key for ref in refs if ref.weight_at(step)}
    while more := {gate for label in needed if (gate := gates[label])} - needed:
        needed |= more
    return frozenset(needed)


def _result(
    member: Mapping[str, Score],
    applying: Sequence[str],
    weights: Mapping[str, float],
    refs: Mapping[str, RewardRef],
) -> RewardResult:
    shut = tuple(label for label in applying if not _is_open(label, member, refs))
    result = RewardResult(total=Score(0.0), rewards=member, weights=weights, shut=shut)
    weighted = [label for label in refs if weights[label]]
    counting = [label for label in weighted if label in applying]
    if not counting and (weighted or not applying):
        return replace(result, total=Score.unscorable("no reward applies to this problem"))
    return replace(result, total=_total(result, counting))


def _is_open(label: str, member: Mapping[str, Score], refs: Mapping[str, RewardRef]) -> bool:
    """Say whether a reward's gate is open: the one it names has a value, that is enough, and its own gate is open."""
    gate = refs[label].gate
    if gate is None:
        return True
    value = member[gate].value
    return value is not None and value >= refs[label].gate_at_least and _is_open(gate, member, refs)


def _total(result: RewardResult, applying: Sequence[str]) -> Score:
    for label in applying:
        if result.counted(label) is None:
            score = result.rewards[label]
            return Score(None, f"{label}: {score.why}", score.outcome)
    try:
        return Score(math.fsum(result.weight(label) * (result.counted(label) or 0.0) for label in applying))
    except (OverflowError, ValueError):
        return Score(None, "the weighted sum of the rewards is not a finite number", "error")
