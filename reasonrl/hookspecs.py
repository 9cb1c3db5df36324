"""The whole plugin contract: hooks without arguments, each returning a mapping by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pluggy

from reasonrl.types import RewardFn, SuiteFn, TaskFn

hookspec = pluggy.HookspecMarker("reasonrl")
hookimpl = pluggy.HookimplMarker("reasonrl")

LOSS_SETTINGS = ("clip_low", "clip_high", "dual_clip", "ratio_cap")
"""Settings of ``algorithm`` that a loss may name."""

GIVEN: Mapping[str, tuple[str, ...]] = {
    "rewards": (
        *("rollout", "text", "answer", "problem", "prompt", "messages", "meta", "completion", "step"),
        *("group", "texts"),
        *("batch", "answers", "problems"),
    ),
    "tasks": ("split", "seed"),
    "suites": ("load",),
    "configs": (),
    "advantages": ("rewards_PG", "rewards_RPG", "weights_R"),
    "losses": ("logprobs_M", "old_logprobs_M", "advantages_M", "lengths_N", *LOSS_SETTINGS),
}
"""Parameters that the core passes to each kind of function, so that a run file's ``params`` cannot."""


@hookspec
def reasonrl_rewards() -> Mapping[str, RewardFn]:
    """Offer rewards: functions of one rollout, of a group or of a batch; see ``reasonrl.scoring.contract``."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_tasks() -> Mapping[str, TaskFn]:
    """Offer tasks: functions of ``split`` and ``seed`` that return problems."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_suites() -> Mapping[str, SuiteFn]:
    """Offer held-out suites: functions that return a :class:`reasonrl.Suite`."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_configs() -> Mapping[str, Path]:
    """Offer recipes: run files in YAML, by the name that ``reasonrl train NAME`` takes."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_advantages() -> Mapping[str, Callable[..., Any]]:
    """Offer advantage estimators: ``(rewards_PG) -> advantages_PG``, NaN where a member has no score."""
    raise AssertionError("a specification is not called")


@hookspec
def reasonrl_losses() -> Mapping[str, Callable[..., Any]]:
    """Offer policy losses: per token in, per token out; see ``reasonrl.algorithms.losses``."""
    raise AssertionError("a specification is not called")
