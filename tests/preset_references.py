"""Slow references of the presets: each paper's formula, written out in plain loops over hand-made completions.

They know nothing of tensors but scalars, and take nothing from the code that they are compared with.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, pstdev
from typing import Any

from torch import Tensor

LONGEST = 12
"""``max_new_tokens`` of the step that is compared."""
EPSILON = 1e-6
"""Added to every spread; papers name one or none."""


@dataclass(frozen=True)
class Member:
    """A completion as a reference sees it."""

    reward: float | None
    values: list[float]
    new: list[Tensor]
    """Log-probabilities as scalars with a gradient."""
    old: list[float]
    sampler: list[float]
    """What the sampler said, which is not quite the old policy."""

    def ratios(self) -> list[Tensor]:
        return [(new - old).exp() for new, old in zip(self.new, self.old, strict=True)]


Members = list[list[Member]]


# The references: one function a preset, its paper's formula and nothing else.


def scored(rewards: Sequence[float | None]) -> list[float]:
    return [reward for reward in rewards if reward is not None]


def standardized(reward: float | None, among: Sequence[float | None]) -> float:
    """(r - mean) / std of the members that have a score; 0 where there is nothing to compare."""
    spread = pstdev(scored(among))
    return 0.0 if reward is None or spread == 0 else (reward - fmean(scored(among))) / (spread + EPSILON)


def clipped(ratio: Tensor, advantage: float, low: float, high: float) -> Tensor | float:
    """min(r A, clip(r, 1 - low, 1 + high) A), PPO's objective."""
    limited = 1 - low if ratio < 1 - low else 1 + high if ratio > 1 + high else ratio
    return ratio * advantage if ratio * advantage < limited * advantage else limited * advantage


def each(groups: Members) -> Iterator[tuple[Member, list[float | None]]]:
    """Every member with the rewards of its group."""
    for group in groups:
        for member in group:
            yield member, [sibling.reward for sibling in group]


def count(groups: Members) -> int:
    return sum(map(len, groups))


def count_tokens(groups: Members) -> int:
    return sum(len(member.new) for group in groups for member in group)


def grpo_reference(groups: Members) -> Any:
    """1/G sum_i 1/|o_i| sum_t min(r A, clip(r) A), A = (R - mean) / std (arXiv:2402.03300, equation 3)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        advantage = standardized(member.reward, rewards)
        for ratio in member.ratios():
            objective += clipped(ratio, advantage, 0.2, 0.2) / len(member.new) / count(groups)
    return -objective


def dr_grpo_reference(groups: Members) -> Any:
    """Neither |o_i| nor std: A = R - mean, divided by a constant length (arXiv:2503.20783, section 3.2)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        advantage = 0.0 if member.reward is None else member.reward - fmean(scored(rewards))
        for ratio in member.ratios():
            objective += clipped(ratio, advantage, 0.2, 0.2) / LONGEST / count(groups)
    return -objective


def dapo_reference(groups: Members) -> Any:
    """1 / sum |o_i|, clip 0.2 and 0.28, soft overlong punishment (arXiv:2503.14476, equations 8 and 13)."""
    objective: Any = 0.0
    for group in groups:
        rewards = []
        for member in group:
            beyond = len(member.new) - (LONGEST - 0.2 * LONGEST)
            rewards.append(None if member.reward is None else member.reward - max(beyond, 0) / (0.2 * LONGEST))
        for member, reward in zip(group, rewards, strict=True):
            for ratio in member.ratios():
                objective += clipped(ratio, standardized(reward, rewards), 0.2, 0.28) / count_tokens(groups)
    return -objective


def gspo_reference(groups: Members) -> Any:
    """1/G sum_i min(s A, clip(s) A), s the geometric mean of the tokens' ratios (arXiv:2507.18071, equation 5)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        log_ratios: Any = sum(ratio.log() for ratio in member.ratios())
        ratio = (log_ratios / len(member.new)).exp()
        objective += clipped(ratio, standardized(member.reward, rewards), 3e-4, 4e-4) / count(groups)
    return -objective


def cispo_reference(groups: Members) -> Any:
    """1 / sum |o_i| sum sg(min(r, cap)) A log pi (arXiv:2506.13585, equations 4 and 5)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        advantage = standardized(member.reward, rewards)
        for ratio, logprob in zip(member.ratios(), member.new, strict=True):
            objective += min(ratio.item(), 5.0) * advantage * logprob / count_tokens(groups)
    return -objective


def rloo_reference(groups: Members) -> Any:
    """1/G sum_i (R_i - mean of the others) log pi(o_i), importance-weighted, over a constant (arXiv:2402.14740)."""
    objective: Any = 0.0
    for group in groups:
        for number, member in enumerate(group):
            others = scored([other.reward for at, other in enumerate(group) if at != number])
            advantage = 0.0 if member.reward is None else member.reward - fmean(others)
            for ratio in member.ratios():
                objective += ratio * advantage / LONGEST / count(groups)
    return -objective


def reinforce_plus_plus_reference(groups: Members) -> Any:
    """A = (R - mean of the batch) / std of the batch, clipped token by token (arXiv:2501.03262)."""
    objective: Any = 0.0
    everybody = [member.reward for group in groups for member in group]
    for member, _ in each(groups):
        for ratio in member.ratios():
            objective += clipped(ratio, standardized(member.reward, everybody), 0.2, 0.2) / count_tokens(groups)
    return -objective


def estimated(member: Member) -> list[float]:
    """Generalized advantage estimates: the error of each value, and 0.95 of what the next token's is."""
    advantages, ahead, following = list[float](), 0.0, 0.0
    reward = member.reward
    for value in reversed(member.values):
        ahead = (reward or 0.0) + following - value + 0.95 * ahead
        advantages, following, reward = [ahead, *advantages], value, 0.0
    return advantages


def ppo_reference(groups: Members) -> Any:
    """min(r A, clip(r) A), A generalized and whitened (arXiv:1707.06347, equation 7; 1506.02438, equation 16)."""
    members = [member for group in groups for member in group if member.reward is not None]
    everybody = [advantage for member in members for advantage in estimated(member)]
    objective: Any = 0.0
    for member in members:
        for ratio, advantage in zip(member.ratios(), estimated(member), strict=True):
            whitened = (advantage - fmean(everybody)) / (pstdev(everybody) + EPSILON)
            objective += clipped(ratio, whitened, 0.2, 0.2) / count_tokens(groups)
    return -objective


def gmpo_reference(groups: Members) -> Any:
    """1/G sum_i (prod_t |min(r^sgn A, clip(r, e^-0.4, e^0.4)^sgn A)|)^(1/|o_i|) A (arXiv:2507.20673)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        advantage = standardized(member.reward, rewards)
        product: Any = 1.0
        for ratio in member.ratios():
            limited = min(max(ratio.item(), math.exp(-0.4)), math.exp(0.4))
            is_worse = limited < ratio if advantage > 0 else limited > ratio
            product *= limited if is_worse else ratio
        objective += product ** (1 / len(member.new)) * advantage / count(groups)
    return -objective


def sapo_reference(groups: Members) -> Any:
    """1/G sum_i 1/|o_i| sum_t sigmoid(tau (r - 1)) 4/tau A, tau 1 where A > 0, else 1.05 (arXiv:2511.20347)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        advantage = standardized(member.reward, rewards)
        tau = 1.0 if advantage > 0 else 1.05
        for ratio in member.ratios():
            gate = 1 / (1 + (-tau * (ratio - 1)).exp()) * 4 / tau
            objective += gate * advantage / len(member.new) / count(groups)
    return -objective


def total_variation(p: float, q: float) -> float:
    return abs(p - q)


def binary_kl(p: float, q: float) -> float:
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))


def dppo_reference(
    groups: Members, distance: Callable[[float, float], float] = total_variation, limit: float = 0.01
) -> Any:
    """sum_t M r A log pi with r constant; M = 0 beyond a distance from the sampler (arXiv:2602.04879, C.1)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        advantage = 0.0 if member.reward is None else member.reward - fmean(scored(rewards))
        for new, ratio, said in zip(member.new, member.ratios(), member.sampler, strict=True):
            p, q = math.exp(new.item()), math.exp(said)
            moves_on = (advantage > 0 and p > q) or (advantage < 0 and p < q)
            if not (distance(p, q) > limit and moves_on):
                objective += ratio.item() * advantage * new / LONGEST / count(groups)
    return -objective


def dppo_kl_reference(groups: Members) -> Any:
    """The same with the divergence of "this token or another" from the sampler's (arXiv:2602.04879, equation 14)."""
    return dppo_reference(groups, binary_kl, 0.01)


def deepseek_v3_2_reference(groups: Members) -> Any:
    """GRPO without std, less what A < 0 and mean_t log(sampler / pi) > 0.5 both hold for (arXiv:2512.02556, eq. 9)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        advantage = 0.0 if member.reward is None else member.reward - fmean(scored(rewards))
        drift = fmean(said - new.item() for said, new in zip(member.sampler, member.new, strict=True))
        if advantage < 0 and drift > 0.5:
            continue
        for ratio in member.ratios():
            objective += clipped(ratio, advantage, 0.2, 0.2) / len(member.new) / count(groups)
    return -objective


def skywork_or1_reference(groups: Members) -> Any:
    """1 / sum |o_i|, clip 0.2; no bonus for entropy before one was measured (arXiv:2505.22312, section 3)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        for ratio in member.ratios():
            objective += clipped(ratio, standardized(member.reward, rewards), 0.2, 0.2) / count_tokens(groups)
    return -objective


def opo_reference(groups: Members) -> Any:
    """A = R - sum_i |o_i| R_i / sum_i |o_i| (arXiv:2505.23585), the gradient of whole completions."""
    objective: Any = 0.0
    for group in groups:
        known = [(len(member.new), member.reward) for member in group if member.reward is not None]
        baseline = sum(length * reward for length, reward in known) / sum(length for length, _ in known)
        for member in group:
            advantage = 0.0 if member.reward is None else member.reward - baseline
            for ratio in member.ratios():
                objective += ratio * advantage / LONGEST / count(groups)
    return -objective


def maxrl_reference(groups: Members) -> Any:
    """A = (R - mean) / mean (arXiv:2602.02710), the gradient of whole completions."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        mean = fmean(scored(rewards))
        advantage = 0.0 if member.reward is None else (member.reward - mean) / mean
        for ratio in member.ratios():
            objective += ratio * advantage / LONGEST / count(groups)
    return -objective


def best_of_two(rewards: Sequence[float | None], number: int) -> float:
    """(mean of the best of two with this member - mean of all) / std of all, over every choice of two."""
    if rewards[number] is None:
        return 0.0
    known = [at for at, reward in enumerate(rewards) if reward is not None]
    best = {pair: max(rewards[at] or 0.0 for at in pair) for pair in combinations(known, 2)}
    spread = pstdev(best.values())
    own = fmean(value for pair, value in best.items() if number in pair)
    return 0.0 if spread == 0 else (own - fmean(best.values())) / (spread + EPSILON)


def pass_at_k_reference(groups: Members) -> Any:
    """DAPO's clip and mean over tokens, A from the best of every choice of k = 2 (arXiv:2508.10751, section 2.4)."""
    objective: Any = 0.0
    for group in groups:
        rewards = [member.reward for member in group]
        for number, member in enumerate(group):
            for ratio in member.ratios():
                objective += clipped(ratio, best_of_two(rewards, number), 0.2, 0.28) / count_tokens(groups)
    return -objective


REFERENCES: dict[str, Callable[[Members], Any]] = {
    "grpo": grpo_reference,
    "dr_grpo": dr_grpo_reference,
    "dapo": dapo_reference,
    "gspo": gspo_reference,
    "cispo": cispo_reference,
    "rloo": rloo_reference,
    "ppo": ppo_reference,
    "gmpo": gmpo_reference,
    "sapo": sapo_reference,
    "dppo": dppo_reference,
    "deepseek_v3_2": deepseek_v3_2_reference,
    "skywork_or1": skywork_or1_reference,
    "opo": opo_reference,
    "maxrl": maxrl_reference,
    "pass_at_k": pass_at_k_reference,
    "reinforce++": reinforce_plus_plus_reference,
}
"""Of each preset; ``dppo`` with limits of 0.01, and ``pass_at_k`` with k = 2."""
