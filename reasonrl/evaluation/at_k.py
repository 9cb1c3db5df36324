"""Figures of one problem from n samples that say what k of them would give: pass@k, pass^k, maj@k, best@k.

Each is the mean over the subsets of k of the n samples (a U-statistic), so its expectation is that of k fresh samples.
Estimates from the shares, such as ``1 - (1 - c/n)**k``, and from draws with replacement are too low.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from math import comb, inf
from typing import Final, TypeAlias

import numpy as np

from reasonrl.errors import DataError

Subsets: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float64]]

MAX_SUBSETS: Final = 2_000
"""Up to so many subsets maj@k is the mean over all of them."""
NUM_SUBSETS: Final = 200
"""Random subsets, drawn under one fixed seed, where there are more."""


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Return the probability that at least one of k samples is right (Chen et al. 2021, arXiv:2107.03374).

    Raises:
        DataError: there are fewer than k samples.
    """
    _require_samples("pass@", num_samples, k)
    _require_count(num_samples, num_correct, k)
    return 1.0 - comb(num_samples - num_correct, k) / comb(num_samples, k)


def pass_hat_k(num_samples: int, num_correct: int, k: int) -> float:
    """Return pass^k, the probability that all of k samples are right (Yao et al. 2024, arXiv:2406.12045).

    Raises:
        DataError: there are fewer than k samples.
    """
    _require_samples("pass^", num_samples, k)
    _require_count(num_samples, num_correct, k)
    return comb(num_correct, k) / comb(num_samples, k)


def maj_at_k(classes_G: Sequence[int | None], values_G: Sequence[float], k: int) -> float:
    """Return the value of the answer that most of k samples give (self-consistency, arXiv:2203.11171).

    Answers with equally many votes share: the value is their mean. A sample without an answer has no vote, and k
    samples without any answer are worth 0. The mean is over all subsets where there are up to :data:`MAX_SUBSETS`,
    else over :data:`NUM_SUBSETS` random ones.

    Args:
        classes_G: which answer each sample gives; samples with one number give the same. None for no answer.
        values_G: what the metric says of each sample.
        k: how many samples vote.

    Raises:
        DataError: there are fewer than k samples.
    """
    _require_samples("maj@", len(values_G), k)
    names = sorted({one for one in classes_G if one is not None})
    votes_GA = np.array([[float(one == name) for name in names] for one in classes_G]).reshape(len(classes_G), -1)
    subsets_SG = subsets(len(values_G), k)
    votes_SA, sums_SA = subsets_SG @ votes_GA, subsets_SG @ (votes_GA * np.array(values_G)[:, None])
    most_S1 = votes_SA.max(axis=1, keepdims=True, initial=1.0)  # no vote at all: nothing wins
    wins_SA = votes_SA == most_S1
    shares_S = (wins_SA * sums_SA / most_S1).sum(axis=1) / np.maximum(wins_SA.sum(axis=1), 1)
    return float(min(1.0, shares_S.mean()))


def best_at_k(rewards_G: Sequence[float | None], values_G: Sequence[float], k: int) -> float:
    """Return the value of the sample that a reward likes best of k, exactly, by order statistics.

    Samples with equal rewards share: the value is their mean. One without a reward is chosen where no other is there.

    Args:
        rewards_G: the reward of each sample; None where it has none.
        values_G: what the metric says of each sample.
        k: how many samples the reward chooses from.

    Raises:
        DataError: there are fewer than k samples.
    """
    _require_samples("best@", len(values_G), k)
    by_reward: dict[float, list[float]] = {}
    for reward, value in zip(rewards_G, values_G, strict=True):
        by_reward.setdefault(-inf if reward is None else reward, []).append(value)
    chosen, below = 0.0, 0
    for reward in sorted(by_reward):
        values = by_reward[reward]
        num_best_here = comb(below + len(values), k) - comb(below, k)
        chosen += num_best_here / comb(len(values_G), k) * (sum(values) / len(values))
        below += len(values)
    return min(1.0, chosen)


@lru_cache(maxsize=64)
def subsets(num_samples: int, k: int) -> Subsets:
    """Return subsets of k of the samples, ``[S, G]`` of 0 and 1: all of them, or random ones where there are many."""
    if comb(num_samples, k) <= MAX_SUBSETS:
        chosen_SK = np.array(list(combinations(range(num_samples), k)))
    else:
        chosen_SK = np.random.default_rng(0).random((NUM_SUBSETS, num_samples)).argsort(axis=1)[:, :k]
    subsets_SG = np.zeros((len(chosen_SK), num_samples))
    np.put_along_axis(subsets_SG, chosen_SK, 1.0, axis=1)
    return subsets_SG


def _require_samples(figure: str, num_samples: int, k: int) -> None:
    if k < 1:
        raise ValueError(f"no {figure}{k}: k is 1 or more")
    if num_samples < k:
        raise DataError(f"{figure}{k} needs {k} samples a problem or more, but there are {num_samples}.")


def _require_count(num_samples: int, num_correct: int, k: int) -> None:
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"{num_correct} right of {num_samples} leave nothing to say of {k}")
