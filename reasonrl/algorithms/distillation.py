"""The divergence of a policy from a teacher of which only the most probable tokens are known."""

from typing import Final

import torch
from torch import Tensor

LEAST_OTHERS: Final = 1e-7
"""Probability of all other tokens below which it is taken for this: what is left of 1 is rounding there."""


def top_k_reverse_kl(logprobs_MK: Tensor, teacher_logprobs_MK: Tensor) -> Tensor:
    """Return KL(policy || teacher) [M] over K tokens of each position and one that stands for all others.

    ``sum over K of p log(p / q) + p' log(p' / q')``, where p' and q' are what is left of 1. It is never greater than
    the divergence over the whole vocabulary, and equal to it where K is all of it. Without p' the policy could move its
    probability to where nobody looks (arXiv:2608.14728; arXiv:2601.20802 has the same with the policy's own tokens).

    Args:
        logprobs_MK: of the policy.
        teacher_logprobs_MK: of the same tokens; minus infinity takes one out, so that it is one of the others.
    """
    counts_MK = teacher_logprobs_MK > -torch.inf
    # A token that is taken out has no part in either sum, nor a gradient of minus infinity times 0.
    policy_MK = torch.where(counts_MK, logprobs_MK, 0.0)
    teacher_MK = torch.where(counts_MK, teacher_logprobs_MK, 0.0)
    shares_MK = torch.where(counts_MK, policy_MK.exp(), 0.0)
    others_M = (1.0 - shares_MK.sum(dim=1)).clamp(min=LEAST_OTHERS)
    teacher_others_M = (1.0 - torch.where(counts_MK, teacher_MK.exp(), 0.0).sum(dim=1)).clamp(min=LEAST_OTHERS)
    of_others_M = others_M * (others_M.log() - teacher_others_M.log())
    return (shares_MK * (policy_MK - teacher_MK)).sum(dim=1) + of_others_M
