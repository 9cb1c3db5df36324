"""Advantage estimators: rewards of groups in, advantages of the same shape out.

``rewards_PG`` holds one row a problem and NaN where a completion has no score. Such a member takes no part
in any baseline and gets exactly 0. Under a baseline of the group, so does every member of a group that
teaches nothing; under one of the whole step, every member of a step in which all rewards are equal.

What a lost score does to the expected gradient: let m of G members be scored, and J be the mean reward of those
completions that are. The mean of advantage times score function over the group is then in expectation

- ``group_centered``: (m - 1) / G times the gradient of J, because each reward is also 1 / m of its own baseline;
- ``leave_one_out``: m / G times it; both are 0 for m < 2.

So scores that are lost at random, J being the mean reward of all, shorten the gradient by a factor that no completion
has a part in, (m - 1) / (G - 1) and m / G of the whole group's, and do not turn it. Where some completions lose theirs
more often than others, failing is neither good nor bad. A 0 in place of a lost score would make it one of the two.
Dividing by a spread (``group_normalized`` and others) is not linear: there the direction, too, depends a little on m.
"""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor


def useful_groups(rewards_PG: Tensor) -> Tensor:
    """Return for each problem whether at least two members are scored and their scores differ."""
    scored_PG = ~rewards_PG.isnan()
    lowest_P = rewards_PG.nan_to_num(torch.inf).amin(dim=1)
    highest_P = rewards_PG.nan_to_num(-torch.inf).amax(dim=1)
    return (scored_PG.sum(dim=1) >= 2) & (highest_P > lowest_P)


def group_centered(rewards_PG: Tensor) -> Tensor:
    """Reward minus the group's mean (Dr. GRPO, arXiv:2503.20783)."""
    centered_PG = rewards_PG - rewards_PG.nanmean(dim=1, keepdim=True)
    teaches_PG = useful_groups(rewards_PG)[:, None] & ~rewards_PG.isnan()
    return torch.where(teaches_PG, centered_PG, 0.0)


def group_normalized(rewards_PG: Tensor, *, epsilon: float = 1e-6) -> Tensor:
    """Centered reward over the group's spread (GRPO, arXiv:2402.03300).

    The spread is the standard deviation of the scored members with their number as divisor, not one less.
    """
    centered_PG = group_centered(rewards_PG)
    num_scored_P1 = (~rewards_PG.isnan()).sum(dim=1, keepdim=True).clamp(min=1)
    spread_P1 = (centered_PG.square().sum(dim=1, keepdim=True) / num_scored_P1).sqrt()
    return centered_PG / (spread_P1 + epsilon)


def leave_one_out(rewards_PG: Tensor) -> Tensor:
    """Reward minus the mean of the group's other members (RLOO, arXiv:2402.14740)."""
    num_scored_P1 = (~rewards_PG.isnan()).sum(dim=1, keepdim=True)
    return group_centered(rewards_PG) * num_scored_P1 / (num_scored_P1 - 1).clamp(min=1)


def batch_normalized(rewards_PG: Tensor, *, epsilon: float = 1e-6) -> Tensor:
    """Reward minus the step's mean, over the step's spread (REINFORCE++, arXiv:2501.03262).

    A group in which all are right is rewarded too: the baseline is that of all problems.
    """
    return group_normalized(rewards_PG.reshape(1, -1), epsilon=epsilon).reshape(rewards_PG.shape)


def group_centered_batch_normalized(rewards_PG: Tensor, *, epsilon: float = 1e-6) -> Tensor:
    """Reward minus the group's mean, over the step's spread (REINFORCE++-baseline, arXiv:2501.03262)."""
    return _over_step_spread(group_centered(rewards_PG), ~rewards_PG.isnan(), epsilon)


def gdpo(rewards_PG: Tensor, rewards_RPG: Tensor, weights_R: Tensor, *, epsilon: float = 1e-6) -> Tensor:
    """Each reward normalized in its group, then the weighted sum over the step's spread (GDPO, arXiv:2601.05242).

    A reward that is the same for a whole group adds 0 to it, however large its weight.

    Args:
        rewards_PG: the total, NaN where a member has none.
        rewards_RPG: each of the R rewards, NaN where one gave no score or does not apply.
        weights_R: their weights.
        epsilon: added to every spread.
    """
    scored_PG = ~rewards_PG.isnan()
    counted_RPG = rewards_RPG.where(scored_PG, torch.nan)
    normalized_RPG = torch.stack([group_normalized(rewards_PG, epsilon=epsilon) for rewards_PG in counted_RPG])
    # Every group sums to 0, so the step's mean is 0 and need not be taken off.
    return _over_step_spread((weights_R[:, None, None] * normalized_RPG).sum(dim=0), scored_PG, epsilon)


def _over_step_spread(centered_PG: Tensor, scored_PG: Tensor, epsilon: float) -> Tensor:
    """Divide by the standard deviation of all scored members of the step, whose mean is 0."""
    variance = centered_PG.square().sum() / scored_PG.sum().clamp(min=1)
    return centered_PG / (variance.sqrt() + epsilon)


ADVANTAGES: Final[Mapping[str, Callable[..., Tensor]]] = {
    "group_normalized": group_normalized,
    "group_centered": group_centered,
    "leave_one_out": leave_one_out,
    "batch_normalized": batch_normalized,
    "group_centered_batch_normalized": group_centered_batch_normalized,
    "gdpo": gdpo,
}
