"""Advantage estimators: rewards of groups in, an advantage for every completion, or for each of its tokens, out.

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
from math import comb
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from reasonrl.errors import ConfigError

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
"""From 0 to 1."""

Estimator = TypeVar("Estimator", bound=Callable[..., Any])


def allows_single_samples(estimator: Estimator) -> Estimator:
    """Mark an estimator that a problem's only completion can learn from: it is compared with more than its siblings.

    Without the mark a run needs two ``rollout.samples_per_prompt``.
    """
    estimator.__dict__["allows_single_samples"] = True
    return estimator


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


def opo(rewards_PG: Tensor, mask_PGT: Tensor) -> Tensor:
    """Reward minus the group's mean weighted by length (OPO, arXiv:2505.23585).

    The baseline of least variance, where the squared norm of a completion's gradient grows with its length.

    Args:
        rewards_PG: the total, NaN where a member has none.
        mask_PGT: whether the policy chose a token: those are a completion's length.
    """
    lengths_PG = mask_PGT.sum(dim=2).where(~rewards_PG.isnan(), 0).to(rewards_PG)
    weighted_P1 = (lengths_PG * rewards_PG.nan_to_num(0.0)).sum(dim=1, keepdim=True)
    baseline_P1 = weighted_P1 / lengths_PG.sum(dim=1, keepdim=True).clamp(min=1)
    teaches_PG = useful_groups(rewards_PG)[:, None] & ~rewards_PG.isnan()
    return torch.where(teaches_PG, rewards_PG - baseline_P1, 0.0)


def maxrl(rewards_PG: Tensor) -> Tensor:
    """Centered reward over the group's mean: maximum likelihood of being right (MaxRL, arXiv:2602.02710).

    With 0/1 rewards the expected gradient is that of ``sum over k = 1..G-1 of pass@k / k``, which nears
    ``log pass@1`` as G grows.

    Raises:
        ConfigError: a reward is negative, so that it is not a chance to be right.
    """
    if (rewards_PG < 0).any():
        raise ConfigError(
            f"advantage maxrl: a completion has the reward {rewards_PG.nan_to_num(0.0).min():g}, but it divides by a "
            "group's mean reward, as by a chance to be right: use rewards and weights that are never negative, or "
            "advantage: group_normalized."
        )
    teaches_P1 = useful_groups(rewards_PG)[:, None]
    return group_centered(rewards_PG) / rewards_PG.nanmean(dim=1, keepdim=True).where(teaches_P1, 1.0)


def pass_at_k(rewards_PG: Tensor, *, k: Annotated[int, Field(ge=1)], epsilon: float = 1e-6) -> Tensor:
    """The best reward of k members expected with a completion among them, normalized among all choices of k.

    Pass@k training in closed form (arXiv:2508.10751, equations 14 and 15), for rewards of any value as in
    arXiv:2505.15201: (E[best of k with i] - E[best of k]) / (std of best of k + epsilon), over all subsets of k scored
    members. With k = 1 this is :func:`group_normalized`. A group in which every choice of k has the same best gets 0.
    """
    advantages_PG = torch.zeros_like(rewards_PG)
    for rewards_G, advantages_G in zip(rewards_PG, advantages_PG, strict=True):
        scored_G = ~rewards_G.isnan()
        advantages_G[scored_G] = _best_of_k(rewards_G[scored_G], k, epsilon)
    return advantages_PG


def _best_of_k(rewards_G: Tensor, k: int, epsilon: float) -> Tensor:
    """Return :func:`pass_at_k` of one group whose members all have a score."""
    count, (sorted_G, order_G) = len(rewards_G), rewards_G.sort()
    if count < k or sorted_G[k - 1] == sorted_G[-1]:
        return torch.zeros_like(rewards_G)
    # Of the choices of k, the best is the j-th smallest in C(j, k - 1); of those that have i, in C(j - 1, k - 2) for
    # j > i, and i itself in C(i, k - 1).
    shares_G = sorted_G.new_tensor([comb(j, k - 1) / comb(count, k) for j in range(count)])
    above_G = sorted_G.new_tensor([comb(j - 1, k - 2) if j and k > 1 else 0 for j in range(count)]) * sorted_G
    own_G = sorted_G.new_tensor([comb(i, k - 1) for i in range(count)]) * sorted_G
    with_G = (own_G + above_G.flip(0).cumsum(0).flip(0) - above_G) / comb(count - 1, k - 1)
    mean = (shares_G * sorted_G).sum()
    spread = (shares_G * (sorted_G - mean).square()).sum().sqrt()
    return torch.empty_like(rewards_G).index_copy(0, order_G, (with_G - mean) / (spread + epsilon))


@allows_single_samples
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


def process_normalized(
    rewards_PG: Tensor, step_rewards_PGT: Tensor, outcome_rewards_PG: Tensor, *, epsilon: float = 1e-6
) -> Tensor:
    """For each token, the sum of the rewards of steps that end there or later, normalized among the group's steps.

    GRPO with process supervision (arXiv:2402.03300, section 4.1.3). What of the total is no step's (the reward of the
    outcome, less penalties) is normalized in the group by itself and added for all tokens of a completion, so without
    steps this is :func:`group_normalized`.

    Args:
        rewards_PG: the total, NaN where a member has none.
        step_rewards_PGT: rewards of the steps that end at each token, NaN where none ends.
        outcome_rewards_PG: what is left of the total, NaN where a member has none.
        epsilon: added to both spreads.

    Returns:
        Advantages ``[P, G, T]``.
    """
    scored_PG = ~rewards_PG.isnan()
    compared_PG = scored_PG & (scored_PG.sum(dim=1, keepdim=True) >= 2)
    steps_PGT = step_rewards_PGT.where(compared_PG[:, :, None], torch.nan)
    normalized_PGT = group_normalized(steps_PGT.flatten(1), epsilon=epsilon).reshape(steps_PGT.shape)
    to_come_PGT = normalized_PGT.flip(2).cumsum(dim=2).flip(2)
    return to_come_PGT + group_normalized(outcome_rewards_PG, epsilon=epsilon)[:, :, None]


@allows_single_samples
def gae(
    rewards_PG: Tensor,
    token_rewards_PGT: Tensor,
    values_PGT: Tensor,
    mask_PGT: Tensor,
    *,
    gamma: Share = 1.0,
    lam: Share = 0.95,
    value_lam: Share | None = None,
    whiten: bool = True,
    epsilon: float = 1e-6,
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation from a critic's values (arXiv:1506.02438), and what those should have been.

    Tokens that the policy did not choose are passed over: they are neither discounted nor learned from. A completion
    ends in a state of value 0, also where it was cut at the token limit.

    Args:
        rewards_PG: the total, NaN where a member has none: it gets 0 and is left out of the whitening.
        token_rewards_PGT: the rewards of each token.
        values_PGT: the reward to come that the critic expects before each token.
        mask_PGT: whether the policy chose a token.
        gamma: discount of a reward for each token that it is later.
        lam: weight of an error of the critic's for each token that it is later: 1 is the reward to come less the value,
            0 trusts the critic with all but the next token.
        value_lam: the same for what the critic should have expected; None takes ``lam``.
        whiten: whether advantages are brought to mean 0 and spread 1 over all scored tokens of the step.
        epsilon: added to that spread.

    Returns:
        Advantages and what the critic should have expected, both ``[P, G, T]``.
    """
    scored_PGT = mask_PGT & ~rewards_PG.isnan()[:, :, None]
    advantages_PGT = _discounted_errors(token_rewards_PGT, values_PGT, scored_PGT, gamma, lam)
    value_errors_PGT = (
        advantages_PGT
        if value_lam is None
        else _discounted_errors(token_rewards_PGT, values_PGT, scored_PGT, gamma, value_lam)
    )
    returns_PGT = torch.where(scored_PGT, values_PGT + value_errors_PGT, 0.0)
    return _whitened(advantages_PGT, scored_PGT, epsilon) if whiten else advantages_PGT, returns_PGT


def _discounted_errors(rewards_PGT: Tensor, values_PGT: Tensor, mask_PGT: Tensor, gamma: float, lam: float) -> Tensor:
    """Return ``sum over k of (gamma lam)^k (r_t+k + gamma V_t+k+1 - V_t+k)`` over the tokens in the mask, else 0."""
    errors_PGT = torch.zeros_like(values_PGT)
    ahead_PG = next_PG = torch.zeros_like(values_PGT.sum(dim=2))
    for t in reversed(range(values_PGT.shape[2])):
        mask_PG, value_PG = mask_PGT[:, :, t], values_PGT[:, :, t]
        error_PG = rewards_PGT[:, :, t] + gamma * next_PG - value_PG + gamma * lam * ahead_PG
        ahead_PG, next_PG = error_PG.where(mask_PG, ahead_PG), value_PG.where(mask_PG, next_PG)
        errors_PGT[:, :, t] = torch.where(mask_PG, error_PG, 0.0)
    return errors_PGT


def _whitened(values_PGT: Tensor, mask_PGT: Tensor, epsilon: float) -> Tensor:
    """Bring the values in the mask to mean 0 and spread 1; the others are 0."""
    values_M = values_PGT[mask_PGT]
    if not len(values_M):
        return values_PGT
    whitened_PGT = (values_PGT - values_M.mean()) / (values_M.std(correction=0) + epsilon)
    return torch.where(mask_PGT, whitened_PGT, 0.0)


def _over_step_spread(centered_PG: Tensor, scored_PG: Tensor, epsilon: float) -> Tensor:
    """Divide by the standard deviation of all scored members of the step, whose mean is 0."""
    variance = centered_PG.square().sum() / scored_PG.sum().clamp(min=1)
    return centered_PG / (variance.sqrt() + epsilon)


ADVANTAGES: Final[Mapping[str, Callable[..., Any]]] = {
    "group_normalized": group_normalized,
    "group_centered": group_centered,
    "leave_one_out": leave_one_out,
    "opo": opo,
    "maxrl": maxrl,
    "pass_at_k": pass_at_k,
    "batch_normalized": batch_normalized,
    "group_centered_batch_normalized": group_centered_batch_normalized,
    "gdpo": gdpo,
    "process_normalized": process_normalized,
    "gae": gae,
}
