"""Whether a run's advantage estimator goes with the other settings, found out before data and models are loaded."""

import inspect
from collections.abc import Callable
from typing import Any

from reasonrl.config.settings import CriticSettings, RunConfig
from reasonrl.errors import ConfigError
from reasonrl.plugins.declared import declared_function
from reasonrl.plugins.loading import Kind
from reasonrl.plugins.lookup import Plugins


def declared(kind: Kind, name: str, plugins: Plugins) -> Callable[..., Any] | None:
    """Return what the source of a function that is not imported yet says of it; None where that is not enough.

    Any: it stands for anybody's function.

    Raises:
        PluginError: there is no such plugin.
    """
    if ":" in name:
        return declared_function(name)
    entry = plugins.find(kind, name)
    return declared_function(entry.offered) if entry.is_reference else None


def names_values(estimator: Callable[..., Any]) -> bool:
    """Say whether an advantage estimator asks for a critic's values. Any: its result is checked where it is called."""
    return "values_PGT" in inspect.signature(estimator).parameters


def require_fitting_estimator(config: RunConfig, plugins: Plugins) -> None:
    """Refuse settings of a critic that nobody asks for, and single completions that have nothing to be compared with.

    The estimator, and torch with it, is imported only where its source does not say enough.

    Raises:
        ConfigError: a setting does not go with the estimator.
        PluginError: there is no such estimator.
    """
    _require_more_than_k(config)
    has_critic_settings = config.critic != CriticSettings()
    is_single = config.rollout.samples_per_prompt == 1 and config.learns_from_rewards
    if not (has_critic_settings or is_single or not config.learns_from_rewards):
        return
    name = config.algorithm.advantage.name
    estimator = declared("advantages", name, plugins) or plugins.find("advantages", name).value
    if has_critic_settings and not names_values(estimator):
        raise ConfigError(
            f"critic: has settings, but the advantage estimator {name!r} asks for no values, so there is no critic: "
            "leave them out, or use algorithm: ppo"
        )
    if not config.learns_from_rewards and names_values(estimator):
        raise ConfigError(
            f"algorithm.advantage: {name!r} asks for a critic's values, but distillation.reward_weight is 0, so that "
            "there is nothing for a critic to expect: give reward_weight a value, or use algorithm: dr_grpo"
        )
    if is_single and not getattr(estimator, "allows_single_samples", False):
        raise ConfigError(
            "rollout.samples_per_prompt: is 1, but the advantage of a completion is measured against the other "
            f"completions of its problem by {name!r}: use 2 or more (8 is a good start), or algorithm: ppo"
        )


def _require_more_than_k(config: RunConfig) -> None:
    """Refuse a k of ``pass_at_k`` for which a group has no choice of k members that another one differs from."""
    advantage, size = config.algorithm.advantage, config.rollout.samples_per_prompt
    k = advantage.params.get("k")
    if advantage.name == "pass_at_k" and isinstance(k, int) and k >= size:
        raise ConfigError(
            f"algorithm.advantage.params.k: is {k}, but a group has {size} completions (rollout.samples_per_prompt), "
            "of which there must be more than k: a quarter to a half of them is a good start"
        )
