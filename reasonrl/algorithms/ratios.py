"""Probability ratios from differences of log-probabilities, finite whatever the difference."""

from typing import Any, Final

import torch
from torch import Tensor

MAX_LOG_RATIO: Final = 20.0
"""Largest exponent of a ratio. A ratio of ``e^20`` is beyond every clip and cap, and its square, which the norm of a
gradient needs, is still far below the largest float32."""


def ratio(log_ratio: Tensor) -> Tensor:
    """``exp(min(log_ratio, MAX_LOG_RATIO))``: a ratio that never overflows, bit for bit ``exp`` below the limit.

    Without the limit an infinite ratio has NaN for a gradient wherever something else makes it 0: an advantage of 0,
    a clip, a cap. Above it the gradient is that at the limit, so a token that became far too likely is still pushed
    back.
    """
    return limited(log_ratio).exp()


def limited(log_ratio: Tensor) -> Tensor:
    """``min(log_ratio, MAX_LOG_RATIO)``, whose gradient is 1 everywhere: the exponent of a finite ratio."""
    result: Tensor = _Limited.apply(log_ratio)  # type: ignore[no-untyped-call]  # torch
    return result


class _Limited(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, log_ratio: Tensor) -> Tensor:  # Any: torch's record of the call
        return log_ratio.clamp(max=MAX_LOG_RATIO)

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:  # Any: as above
        return gradient
