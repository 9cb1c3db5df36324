"""Presets: the values of an algorithm that belong together, under the name the field gives them.

What a preset does not name is off; ``docs/presets/`` shows all values, with formula, source, and what each leaves out.
"""

from collections.abc import Mapping
from typing import Any, Final

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "grpo": {
        "advantage": "group_normalized",
        "loss": {"name": "clipped_surrogate", "params": {"clip_low": 0.2, "clip_high": 0.2}},
        "reduction": "sequence_mean",
    },
    "dr_grpo": {
        "advantage": "group_centered",
        "loss": {"name": "clipped_surrogate", "params": {"clip_low": 0.2, "clip_high": 0.2}},
        "reduction": "fixed_length",
    },
    "dapo": {
        "advantage": "group_normalized",
        "loss": {"name": "clipped_surrogate", "params": {"clip_low": 0.2, "clip_high": 0.28}},
        "reduction": "token_mean",
        "overlong_window": 0.2,
        "refill_attempts": 4,
    },
    "gspo": {
        "advantage": "group_normalized",
        "loss": {"name": "gspo", "params": {"clip_low": 3e-4, "clip_high": 4e-4}},
        "reduction": "sequence_mean",
    },
    "cispo": {
        "advantage": "group_normalized",
        "loss": {"name": "cispo", "params": {"ratio_cap": 5.0}},
        "reduction": "token_mean",
    },
    "rloo": {
        "advantage": "leave_one_out",
        "loss": "policy_gradient",
        "reduction": "fixed_length",
        "kl_estimator": "k1",
        "kl_in": "reward",
    },
    "ppo": {
        "advantage": {"name": "gae", "params": {"gamma": 1.0, "lam": 0.95, "whiten": True}},
        "loss": {"name": "clipped_surrogate", "params": {"clip_low": 0.2, "clip_high": 0.2}},
        "reduction": "token_mean",
        "kl_estimator": "k1",
        "kl_in": "reward",
    },
    "gmpo": {
        "advantage": "group_normalized",
        "loss": {"name": "gmpo", "params": {"log_clip_low": 0.4, "log_clip_high": 0.4}},
        "reduction": "sequence_mean",
    },
    "sapo": {
        "advantage": "group_normalized",
        "loss": {"name": "sapo", "params": {"temperature_positive": 1.0, "temperature_negative": 1.05}},
        "reduction": "sequence_mean",
    },
    "dppo": {
        "advantage": "group_centered",
        "loss": {"name": "dppo_tv", "params": {"threshold_low": 0.15, "threshold_high": 0.15, "ratio_cap": 20.0}},
        "reduction": "fixed_length",
    },
    "deepseek_v3_2": {
        "advantage": "group_centered",
        "loss": {"name": "clipped_surrogate", "params": {"clip_low": 0.2, "clip_high": 0.2}},
        "reduction": "sequence_mean",
        "off_policy_threshold": 0.5,
    },
    "skywork_or1": {
        "advantage": "group_normalized",
        "loss": {"name": "clipped_surrogate", "params": {"clip_low": 0.2, "clip_high": 0.2}},
        "reduction": "token_mean",
        "entropy_target": 0.2,
    },
    "opo": {
        "advantage": "opo",
        "loss": "policy_gradient",
        "reduction": "fixed_length",
    },
    "maxrl": {
        "advantage": "maxrl",
        "loss": "policy_gradient",
        "reduction": "fixed_length",
    },
    "pass_at_k": {
        "advantage": {"name": "pass_at_k", "params": {"k": 4}},
        "loss": {"name": "clipped_surrogate", "params": {"clip_low": 0.2, "clip_high": 0.28}},
        "reduction": "token_mean",
    },
    "reinforce++": {
        "advantage": "batch_normalized",
        "loss": {"name": "clipped_surrogate", "params": {"clip_low": 0.2, "clip_high": 0.2}},
        "reduction": "token_mean",
        "kl_estimator": "k1",
        "kl_in": "reward",
    },
}
"""Values of ``algorithm`` by name. Any: each setting has a type of its own."""
