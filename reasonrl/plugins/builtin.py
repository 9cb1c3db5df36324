"""The core's own plugin: what it offers registers like anybody's, by references, so that listing needs no torch."""

from collections.abc import Callable, Mapping
from typing import Any

from reasonrl.algorithms.presets import PRESETS
from reasonrl.plugins.hookspecs import hookimpl
from reasonrl.plugins.types import Template

ADVANTAGES = (
    "group_normalized",
    "group_centered",
    "leave_one_out",
    "opo",
    "maxrl",
    "pass_at_k",
    "batch_normalized",
    "group_centered_batch_normalized",
    "gdpo",
    "process_normalized",
    "gae",
)
LOSSES = ("clipped_surrogate", "gspo", "cispo", "gmpo", "sapo", "dppo_tv", "dppo_kl", "policy_gradient")
ENGINES = ("local", "vllm", "vllm_server")
TRACKERS = ("trackio", "wandb", "tensorboard", "mlflow", "swanlab")
"""Each needs the package of its name, which the extra of its name installs."""

TEMPLATES: Mapping[str, Template] = {
    "bare": Template("{{ prompt }}"),
    "plain": Template("Question: {{ prompt }}\nAnswer:"),
    "r1_zero": Template(
        "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The "
        "assistant first thinks about the reasoning process in the mind and then provides the user with the answer. "
        "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
        "respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
        "User: {{ prompt }} Assistant:",
    ),
    "chat": Template("{{ prompt }}", chat=True),
    "program": Template("{{ prompt }}\nPut the whole program into one ```python block.", chat=True),
    "boxed": Template(
        "{{ prompt }}\nPlease reason step by step, and put your final answer within \\boxed{}.", chat=True
    ),
}
"""The templates that come with reasonrl. ``r1_zero`` is DeepSeek-R1-Zero's (arXiv:2501.12948, table 1)."""


@hookimpl
def reasonrl_presets() -> Mapping[str, Mapping[str, Any]]:
    """Offer the presets of :mod:`reasonrl.algorithms.presets`. Any: values of settings."""
    return PRESETS


@hookimpl
def reasonrl_advantages() -> Mapping[str, Callable[..., Any] | str]:
    """Offer the estimators of :mod:`reasonrl.algorithms.advantages`. Any: tensors."""
    return {name: f"reasonrl.algorithms.advantages:{name}" for name in ADVANTAGES}


@hookimpl
def reasonrl_losses() -> Mapping[str, Callable[..., Any] | str]:
    """Offer the losses of :mod:`reasonrl.algorithms.losses`. Any: tensors."""
    return {name: f"reasonrl.algorithms.losses:{name}" for name in LOSSES}


@hookimpl
def reasonrl_rewards() -> Mapping[str, Callable[..., Any] | str]:
    """Offer the rewards that reward models give. Any: what they return is read by the scorer."""
    return {
        "preference": "reasonrl.preference.reward:preference",
        "preference_server": "reasonrl.preference.remote:preference_server",
    }


@hookimpl
def reasonrl_engines() -> Mapping[str, Callable[..., Any] | str]:
    """Offer the engines of :mod:`reasonrl.engines.builtin`. Any: an engine needs torch."""
    return {name: f"reasonrl.engines.builtin:{name}" for name in ENGINES}


@hookimpl
def reasonrl_templates() -> Mapping[str, Template]:
    """Offer the prompt templates that come with reasonrl."""
    return TEMPLATES


@hookimpl
def reasonrl_trackers() -> Mapping[str, Callable[..., Any] | str]:
    """Offer the trackers of :mod:`reasonrl.run.trackers`. Any: what they return is checked when they are opened."""
    return {name: f"reasonrl.run.trackers.{name}:{name}" for name in TRACKERS}
