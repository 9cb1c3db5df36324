"""Rewards on tokens: each step's at the token that ends it, and what is left of the total at the last token."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from reasonrl.types import RewardResult, Span, Trajectory

Decode: TypeAlias = Callable[[list[int]], str]
"""From tokens to text, special ones included, as the texts of completions are made."""


def step_rewards(result: RewardResult, trajectory: Trajectory, decode: Decode | None) -> list[float]:
    """Return what the steps that end at each token [T] are worth, by weight and gate; NaN where none ends."""
    rewards_T = [math.nan] * len(trajectory.token_ids)
    if result.value is None:
        return rewards_T
    for name, spans in _counted_spans(result):
        assert decode is not None, "a run that may meet spans knows its tokenizer"
        for place, span in zip(end_tokens(spans, trajectory, decode), spans, strict=True):
            before = 0.0 if math.isnan(rewards_T[place]) else rewards_T[place]
            rewards_T[place] = before + result.weight(name) * span.value
    return rewards_T


def outcome_reward(result: RewardResult) -> float | None:
    """Return the total less what steps were given and less all penalties; None where there is no total."""
    if result.value is None:
        return None
    steps = dict(_counted_spans(result))
    beyond_steps = {
        name: (result.counted(name) or 0.0) - math.fsum(span.value for span in steps.get(name, ()))
        for name in result.rewards
    }
    total = math.fsum(result.weight(name) * value for name, value in beyond_steps.items())
    return total - math.fsum(result.penalties.values())


def token_rewards(result: RewardResult, trajectory: Trajectory, decode: Decode | None) -> list[float]:
    """Return the reward of every token [T], which sum to the total less its penalties; NaN where there is no total.

    Steps are paid at the tokens that end them, penalties that are known by token where they were earned, and the rest
    at the last token that the policy chose.
    """
    rest = outcome_reward(result)
    if rest is None:
        return [math.nan] * len(trajectory.token_ids)
    rewards_T = [0.0 if math.isnan(step) else step for step in step_rewards(result, trajectory, decode)]
    chosen = [index for index, is_chosen in enumerate(trajectory.mask) if is_chosen]
    for paid in result.token_penalties.values():
        for index, penalty in zip(chosen, paid, strict=True):
            rewards_T[index] -= penalty
    if chosen:
        rewards_T[chosen[-1]] += rest + math.fsum(math.fsum(paid) for paid in result.token_penalties.values())
    return rewards_T


def end_tokens(spans: Sequence[Span], trajectory: Trajectory, decode: Decode) -> list[int]:
    """Return for each span, in their order, the index of the token that completes its last character.

    Found by decoding the tokens up to it: a character may take several tokens, and a token hold several characters.
    """
    turn = trajectory.last_turn
    token_ids = list(trajectory.token_ids[turn.start : turn.stop])

    def covered(index: int) -> int:
        """Count the characters of the text that are complete with this token: half a character decodes to another."""
        return common_length(decode(token_ids[: index + 1]), trajectory.text)

    found, place = list[int](), 0
    for span in spans:
        place = bisect_left(range(len(token_ids) - 1), span.end, lo=place, key=covered)
        found.append(turn.start + place)
    return found


def common_length(one: str, other: str) -> int:
    """Count the characters that two texts begin with alike."""
    if other.startswith(one):
        return len(one)
    return next((index for index, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(other))


def _counted_spans(result: RewardResult) -> Iterator[tuple[str, tuple[Span, ...]]]:
    """Yield the rewards that gave spans and count here, with them; one of weight 0 is only measured."""
    return (
        (name, score.spans)
        for name, score in result.rewards.items()
        if score.spans and name not in result.shut and result.weight(name)
    )
