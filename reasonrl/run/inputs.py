"""What a run is about, without its model: problems, suites and rewards, checked before anything heavy is loaded."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from reasonrl.config.settings import EvaluationSettings, PluginRef, RunConfig, ScoringSettings, SuiteRef
from reasonrl.config.suite_file import is_suite_file
from reasonrl.errors import ConfigError, DataError, PluginError, and_known
from reasonrl.evaluation.clusters import cluster_warnings
from reasonrl.evaluation.matches import Overlap
from reasonrl.evaluation.overlap import find_overlaps, require_apart
from reasonrl.evaluation.shared_code import shared_functions
from reasonrl.evaluation.suites import suite_of_file, with_overrides
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.run.check import check_run, check_suite
from reasonrl.run.preregistration import require_measured
from reasonrl.run.reward_beside_metric import scores_heldout
from reasonrl.run.roles import num_evaluations, refuse_choosing_by_tests, touch_warnings
from reasonrl.run.tasks import TaskProblems, all_problems, load_problems, load_tasks
from reasonrl.scoring.contract import Reward, load_reward
from reasonrl.types import Problem

MODULES_SHOWN = 3
"""Modules that a warning names of code that a metric and a reward share."""
HELDOUT_SEED = 0
"""Seed of held-out problems: the same for every run, so that figures can be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """What a run learns from and is measured on."""

    tasks: tuple[TaskProblems, ...]
    problems: Sequence[Problem]
    """Those of all tasks."""
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
    rewards = tuple(load_reward(ref, plugins) for ref in config.all_rewards)
    suites = tuple(load_suite(ref, plugins) for ref in config.evaluation.suites)
    refuse_repeated_suites(suites)
    _refuse_unused_workers(config.scoring, rewards, suites)
    _refuse_unknown_gold(config.alarms.gold, rewards, suites)
    require_measured(config, suites, has_rewards=scores_heldout(config, rewards))
    refuse_choosing_by_tests(config, suites)
    tasks = tuple(load_tasks(config, plugins))
    problems = all_problems(tasks)
    overlaps = find_overlaps(problems, {suite.name: suite.problems for suite in suites})
    require_apart(overlaps, config.evaluation.allow_overlap)
    warnings = (
        *_run_warnings(config),
        *(warning for task in tasks for warning in task.warnings),
        *_suite_warnings(config, suites, rewards, overlaps),
        *touch_warnings(config, suites, num_evaluations(config)),
    )
    return RunInputs(
        tasks=tasks, problems=problems, suites=suites, rewards=rewards, overlaps=overlaps, warnings=warnings
    )


def load_suite(ref: SuiteRef, plugins: Plugins) -> Suite:
    """Return a held-out suite with its problems and with the settings that stand beside its name.

    Raises:
        PluginError: the suite failed, or returned something else.
        DataError: it has no problems.
    """
    load = partial(_load_heldout, plugins)
    is_file = is_suite_file(ref.name)
    suite: Suite = suite_of_file(ref, plugins, load) if is_file else plugins.call("suites", ref, load=load)
    if not suite.problems:
        raise DataError(f"suite {ref.name!r}: has no problems; check its params and its data.")
    measured = with_overrides(suite, ref)
    check_suite(measured, plugins)
    return measured


def _load_heldout(plugins: Plugins, task: str, /, **params: Any) -> Sequence[Problem]:
    """Serve a suite with held-out problems of a task. Any: the parameters are the task's own."""
    return load_problems(PluginRef(name=task, params=params), plugins, split="heldout", seed=HELDOUT_SEED)


def refuse_repeated_suites(suites: Sequence[Suite]) -> None:
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
    if config.all_rewards and not config.learns_from_rewards:
        yield "distillation.reward_weight is 0: the rewards are measured, and the teacher alone is learned from"
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
        overlap = overlaps[suite.name]
        if overlap.is_refused:
            yield f"suite {suite.name!r}: {overlap.summary}; allowed because: {config.evaluation.allow_overlap}"
        elif overlap.copies or (overlap.masked_rate and not overlap.split_by_id):
            yield f"suite {suite.name!r}: {overlap.summary}; see overlap.json"
        templates = list(dict.fromkeys(task.template for task in config.tasks))
        if suite.template not in templates:
            training = " and ".join(map(repr, templates))
            yield f"suite {suite.name!r} uses template {suite.template!r}, training uses {training}"
        if not suite.stop and all(task.stop for task in config.tasks):
            ends = json.dumps(list(dict.fromkeys(end for task in config.tasks for end in task.stop)))
            yield (
                f"suite {suite.name!r} ends no completion at the strings that end those of training, so what follows "
                f"an answer is measured and not learned: set stop: {ends} beside its name"
            )
        for reward in rewards:
            if shared := shared_functions(suite.metric, reward.source):
                yield f"the metric of {suite.name!r} and reward {reward.name!r} share {_shared_modules(shared)}"


def _shared_modules(names: Sequence[str]) -> str:
    """Return the modules of shared functions with how many each has, those with the most first."""
    counts = Counter(name.rpartition(".")[0] or name for name in names)
    first, others = counts.most_common(MODULES_SHOWN), len(counts) - MODULES_SHOWN
    shown = [
        module if module in names else f"{module} ({count} function{'s' * (count != 1)})" for module, count in first
    ]
    return ", ".join([*shown, *([f"and of {others} more modules"] if others > 0 else [])])
