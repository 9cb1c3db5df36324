"""Advantage estimators: rewards of groups in, advantages of the same shape out.

``rewards_PG`` holds one row a problem and NaN where a completion has no score. Such a member takes no part
in its group's baseline and gets exactly 0, and so does every member of a group that teaches nothing.
"""

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
