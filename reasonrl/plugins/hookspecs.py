"""The whole plugin contract: hooks without arguments, each returning a mapping by name.

Where a hook offers functions, the text ``"package.module:name"`` may stand for one: it is imported when somebody uses
it, so that listing plugins needs nothing heavy.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pluggy

from reasonrl.plugins.types import MetricFn, RewardFn, SuiteFn, TaskFn, Template, TrackerFn

hookspec = pluggy.HookspecMarker("reasonrl")
hookimpl = pluggy.HookimplMarker("reasonrl")

GIVEN: Mapping[str, tuple[str, ...]] = {
    "rewards": (
        *("rollout", "text", "answer", "problem", "prompt", "messages", "meta", "completion", "step"),
        *("group", "texts"),
        *("batch", "answers", "problems"),
    ),
    "tasks": ("split", "seed"),
    "suites": ("load", "find_metric"),
    "metrics": ("rollout",),
    "configs": (),
    "presets": (),
    "advantages": (
        *("rewards_PG", "rewards_RPG", "weights_R", "lengths_PG"),
        *("token_rewards_PGT", "step_rewards_PGT", "outcome_rewards_PG", "mask_PGT", "values_PGT"),
    ),
    "losses": ("logprobs_M", "old_logprobs_M", "sampler_logprobs_M", "advantages_M", "lengths_N"),
    "engines": ("inputs",),
    "templates": ("prompt", "problem"),
    "observers": ("event",),
    "trackers": ("run",),
}
"""What the core passes to each kind of plugin, so that a run file's ``params`` cannot."""


@hookspec
def reasonrl_rewards() -> Mapping[str, RewardFn | str]:
    """Offer rewards: functions of one rollout, of a group or of a batch; see ``reasonrl.scoring.contract``."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_tasks() -> Mapping[str, TaskFn | str]:
    """Offer tasks: functions of ``split`` and ``seed`` that return problems."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_suites() -> Mapping[str, SuiteFn | str]:
    """Offer held-out suites: functions that return a :class:`reasonrl.Suite`."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_metrics() -> Mapping[str, MetricFn | str]:
    """Offer metrics: functions of one rollout that return a :class:`reasonrl.Measurement`."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_configs() -> Mapping[str, Path]:
    """Offer recipes: run files in YAML, by the name that ``reasonrl train NAME`` takes."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_presets() -> Mapping[str, Mapping[str, Any]]:
    """Offer presets: values of ``algorithm`` that belong together. Any: each setting has a type of its own."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_advantages() -> Mapping[str, Callable[..., Any] | str]:
    """Offer advantage estimators: ``(rewards_PG) -> advantages_PG``, NaN where a member has no score. Any: tensors.

    One that names ``values_PGT`` makes a run build a critic, and returns beside them what values should have been.
    """
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_losses() -> Mapping[str, Callable[..., Any] | str]:
    """Offer policy losses: per token in, per token out; see ``reasonrl.algorithms.losses``. Any: tensors."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_engines() -> Mapping[str, Callable[..., Any] | str]:
    """Offer engines: functions of ``reasonrl.engines.EngineInputs`` that return an ``Engine``. Any: it needs torch."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_templates() -> Mapping[str, Template]:
    """Offer prompt templates: Jinja texts that make a model's prompt of a problem."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_observers() -> Mapping[str, Callable[..., None] | str]:
    """Offer observers: functions of an event of ``reasonrl.run.events``, called for all that happens in a run."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_trackers() -> Mapping[str, TrackerFn | str]:
    """Offer trackers: functions that open a run in an experiment tracker and return a :class:`reasonrl.Tracker`."""
    raise AssertionError("a specification is not called")
