"""Presets: every value of an algorithm that belongs together, under the name the field gives it."""

from collections.abc import Mapping
from typing import Final

Preset = Mapping[str, str | float]

PRESETS: Final[Mapping[str, Preset]] = {
    "grpo": {
        "advantage": "group_normalized",
        "loss": "clipped_surrogate",
        "reduction": "sequence_mean",
        "clip_low": 0.2,
        "clip_high": 0.2,
        "kl_coefficient": 0.0,
        "kl_estimator": "k3",
    },
    "dr_grpo": {
        "advantage": "group_centered",
        "loss": "clipped_surrogate",
        "reduction": "fixed_length",
        "clip_low": 0.2,
        "clip_high": 0.2,
        "kl_coefficient": 0.0,
        "kl_estimator": "k3",
    },
}
"""``grpo``: DeepSeekMath (arXiv:2402.03300) without its KL term, which is 0 here as in most recipes since.
``dr_grpo``: Understanding R1-Zero-like training (arXiv:2503.20783): no division by spread or length."""
