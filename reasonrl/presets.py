"""Presets: every value of an algorithm that belongs together, under the name the field gives it.

Formula, source, and what each leaves out: ``docs/presets/``.
"""

from collections.abc import Mapping
from typing import Final

Preset = Mapping[str, str | float | None]

_GRPO: Final[Preset] = {
    "advantage": "group_normalized",
    "loss": "clipped_surrogate",
    "reduction": "sequence_mean",
    "clip_low": 0.2,
    "clip_high": 0.2,
    "dual_clip": None,
    "ratio_cap": None,
    "kl_coefficient": 0.0,
    "kl_estimator": "k3",
    "kl_in": "loss",
    "kl_target": None,
    "kl_horizon": 10_000,
    "entropy_coefficient": 0.0,
    "importance": "none",
    "importance_low": None,
    "importance_high": None,
    "truncated": "penalise",
    "overlong_window": None,
    "refill_attempts": 0,
}

PRESETS: Final[Mapping[str, Preset]] = {
    "grpo": _GRPO,
    "dr_grpo": {**_GRPO, "advantage": "group_centered", "reduction": "fixed_length"},
    "dapo": {**_GRPO, "reduction": "token_mean", "clip_high": 0.28, "overlong_window": 0.2, "refill_attempts": 4},
    "gspo": {**_GRPO, "loss": "gspo", "clip_low": 3e-4, "clip_high": 4e-4},
    "cispo": {
        **_GRPO,
        "loss": "cispo",
        "reduction": "token_mean",
        "clip_low": None,
        "clip_high": None,
        "ratio_cap": 5.0,
    },
    "rloo": {
        **_GRPO,
        "advantage": "leave_one_out",
        "loss": "policy_gradient",
        "reduction": "fixed_length",
        "clip_low": None,
        "clip_high": None,
        "kl_estimator": "k1",
        "kl_in": "reward",
    },
    "reinforce++": {
        **_GRPO,
        "advantage": "batch_normalized",
        "reduction": "token_mean",
        "kl_estimator": "k1",
        "kl_in": "reward",
    },
}
