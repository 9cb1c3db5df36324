"""What a run is about, without its model: problems, suites and rewards, checked before anything heavy is loaded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from reasonrl.config.settings import EvaluationSettings, PluginRef, RunConfig, ScoringSettings, SuiteRef
from reasonrl.errors import ConfigError, DataError, PluginError, and_known
from reasonrl.evaluation.clusters import cluster_warnings
from reasonrl.evaluation.overlap import Overlap, find_overlap, require_apart
from reasonrl.evaluation.shared_code import shared_functions
from reasonrl.evaluation.suites import with_overrides
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.run.check import check_run, check_suite
from reasonrl.scoring.contract import Reward, load_reward
from reasonrl.types import Problem

HELDOUT_SEED = 0
"""Seed of held-out problems: the same for every run, so that figures can be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """What a run learns from and is measured on."""

    problems: Sequence[Problem]
    suites: tuple[Suite, ...]
    rewards: tuple[Reward, ...]
    overlaps: Mapping[str, Overlap]
    """By name of the suite."""
    warnings: tuple[str, ...]


def load_inputs(config: RunConfig, plugins: Plugins) -> RunInputs:
    """Load problems, suites and rewards, and check that they fit together.

    Raises:
        PluginError: a name or a parameter is wrong.
        ConfigError: a setting would be ignored.
        DataError: there are no problems, or held-out problems are trained on.
    """
    check_run(config, plugins)
    rewards = tuple(load_reward(ref, plugins) for ref in config.rewards)
    suites = tuple(load_suite(ref, plugins) for ref in config.evaluation.suites)
    _refuse_repeated_suites(suites)
    _refuse_unused_workers(config.scoring, rewards, suites)
    _refuse_unknown_gold(config.alarms.gold, rewards, suites)
    problems = load_problems(config.task, plugins)
    overlaps = {suite.name: find_overlap(problems, suite.problems) for suite in suites}
    require_apart(overlaps, config.evaluation.allow_overlap)
    warnings = (*_run_warnings(config), *_suite_warnings(config, suites, rewards, overlaps))
    return RunInputs(problems=problems, suites=suites, rewards=rewards, overlaps=overlaps, warnings=warnings)


def load_problems(task: PluginRef, plugins: Plugins, *, split: str = "train", seed: int = 0) -> Sequence[Problem]:
    """Return the problems of one split of a task.

    Raises:
        PluginError: the task failed, or returned something else.
        DataError: there are none.
    """
    problems: Sequence[Problem] = plugins.call("tasks", task, split=split, seed=seed)
    if not problems:
        raise DataError(f"task {task.name!r}: has no {split} problems; check its params and its data.")
    return problems


def load_suite(ref: SuiteRef, plugins: Plugins) -> Suite:
    """Return a held-out suite with its problems and with the settings that stand beside its name.

    Raises:
        PluginError: the suite failed, or returned something else.
        DataError: it has no problems.
    """
    suite: Suite = plugins.call("suites", ref, load=partial(_load_heldout, plugins))
    if not suite.problems:
        raise DataError(f"suite {ref.name!r}: has no problems; check its params and its data.")
    measured = with_overrides(suite, ref)
    check_suite(measured, plugins)
    return measured


def _load_heldout(plugins: Plugins, task: str, /, **params: Any) -> Sequence[Problem]:
    """Serve a suite with held-out problems of a task. Any: the parameters are the task's own."""
    return load_problems(PluginRef(name=task, params=params), plugins, split="heldout", seed=HELDOUT_SEED)


def _refuse_repeated_suites(suites: Sequence[Suite]) -> None:
    """Two suites of one name would write over each other's results."""
    names = [suite.name for suite in suites]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise PluginError(f"evaluation.suites: {', '.join(repeated)} is measured more than once; keep one of them.")


def _refuse_unused_workers(settings: ScoringSettings, rewards: Sequence[Reward], suites: Sequence[Suite]) -> None:
    """Refuse settings of worker processes where rewards need the run's own process and there is no metric."""
    ignored = [name for name in ("workers", "memory_mib") if getattr(settings, name) is not None]
    if ignored and not suites and all(reward.in_process for reward in rewards):
        raise ConfigError(
            f"scoring.{ignored[0]} is set, but every reward runs in the run's own process, so there are no workers: "
            "leave it out"
        )


def _refuse_unknown_gold(gold: str | None, rewards: Sequence[Reward], suites: Sequence[Suite]) -> None:
    """Refuse a gold figure that nothing measures, or that two things could be."""
    names = [*(reward.name for reward in rewards), *(suite.name for suite in suites)]
    if gold is not None and gold not in names:
        raise ConfigError(f"alarms.gold: no reward or held-out suite {gold!r}.{and_known(gold, names)}")
    if names.count(gold or "") > 1:
        raise ConfigError(f"alarms.gold: {gold!r} is both a reward and a suite: give the reward another label.")


def _run_warnings(config: RunConfig) -> Iterator[str]:
    """Say what a reader of the run's figures should know of its settings."""
    if not config.evaluation.suites:
        yield "no held-out suite: the run cannot show whether it learned (evaluation.suites)"
    elif config.evaluation.every > config.run.steps and config.evaluation.every != _usual_every():
        yield (
            f"evaluation.every is {config.evaluation.every}, more than the run's {config.run.steps} steps: it is "
            "measured before the first step and after the last"
        )
    if config.rollout.engine.name == "vllm_server" and config.vllm.weights in ("nccl", "ipc"):
        yield f"vllm.weights is {config.vllm.weights}, which is experimental: no test runs it"
    limit, updates = config.rollout.max_staleness, config.updates_per_step
    if limit is not None and limit < updates:
        yield (
            f"rollout.max_staleness is {limit}, but a step makes up to {updates} weight updates: what is sampled while "
            f"one makes more than {limit} is thrown away"
        )


def _usual_every() -> int:
    return int(EvaluationSettings.model_fields["every"].default)


def _suite_warnings(
    config: RunConfig, suites: Sequence[Suite], rewards: Sequence[Reward], overlaps: Mapping[str, Overlap]
) -> Iterator[str]:
    """Say what a reader of the run's figures should know of its suites."""
    for suite in suites:
        yield from cluster_warnings(suite)
        if overlaps[suite.name].matches:
            reason = config.evaluation.allow_overlap
            yield f"suite {suite.name!r}: {overlaps[suite.name].summary}; allowed because: {reason}"
        if suite.template != config.template:
            yield f"suite {suite.name!r} uses template {suite.template!r}, training uses {config.template!r}"
        for reward in rewards:
            if shared := shared_functions(suite.metric, reward.source):
                public = [name for name in shared if "._" not in name] or shared
                yield f"the metric of {suite.name!r} and reward {reward.name!r} share {', '.join(public)}"
