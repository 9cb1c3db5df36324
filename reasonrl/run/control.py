"""Control runs: any run with another reward in its place, to see how much of a gain the reward has a part in.

A base model may gain from training on anything: a random reward, or one for the form of the answer alone, can come
close to the true one (Spurious Rewards, arXiv:2506.10947). The run's own rewards are kept with weight 0, so that they
are measured all the same; ``inverted`` turns the sign of their weights.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

from reasonrl.config.rewards import RewardRef, WeightSchedule
from reasonrl.config.runfile import override_run
from reasonrl.config.settings import RunConfig
from reasonrl.config.tasks import RunTask
from reasonrl.errors import ConfigError
from reasonrl.plugins.lookup import Plugins
from reasonrl.rollout.templates import find_template

Control: TypeAlias = Literal["random", "format", "inverted"]
"""What takes the place of the reward: chance, the form of the answer alone, or the opposite."""

Rewards: TypeAlias = list[dict[str, Any]]
"""Entries of a run file. Any: their settings."""

BOXED: Final = {"name": "regex_answer", "params": {"pattern": "(?s).+", "sources": ["boxed"]}}
PROGRAM: Final = {"name": "regex_answer", "params": {"pattern": "(?s).*```\\w*\\n.+\\n```.*", "sources": ["whole"]}}
FORMS: Final[Sequence[tuple[str, str, dict[str, Any]]]] = (
    ("<answer>", "control_r1_format", {"name": "r1_format"}),
    ("\\boxed", "control_boxed", BOXED),
    ("```", "control_program", PROGRAM),
    ("<think>", "control_think_format", {"name": "think_format"}),
)
"""What a template that has a text in it asks for, and the label and entry of a reward that pays for that form alone."""


def with_control(config: RunConfig, control: Control, plugins: Plugins) -> RunConfig:
    """Return the control of a run: its name says so, and what it learns from is another reward.

    Args:
        config: the run.
        control: what takes the place of its reward.
        plugins: where its templates come from.

    Raises:
        ConfigError: a template asks for no form, the run is a control already, or rewards decide nothing in it.
    """
    if not config.learns_from_rewards:
        raise ConfigError(
            f"--control {control}: {config.name} learns from its teacher alone (distillation.reward_weight is 0), so "
            "another reward in its place would change nothing."
        )
    changed = [_rewards(task, control, plugins) for task in config.tasks]
    overrides = [f"name={config.name}-control-{control}"]
    if not isinstance(config.task, list):
        return override_run(config, [*overrides, f"rewards={json.dumps(changed[0])}"])
    tasks = [
        task.model_dump(mode="json") | {"rewards": rewards} for task, rewards in zip(config.task, changed, strict=True)
    ]
    return override_run(config, [*overrides, f"task={json.dumps(tasks)}", "rewards=[]"])


def _rewards(task: RunTask, control: Control, plugins: Plugins) -> Rewards:
    """Return what a task's completions are scored by."""
    if labels := [reward.key for reward in task.rewards if reward.key.startswith("control_")]:
        raise ConfigError(f"--control {control}: there is a reward {labels[0]!r} already, so this run is a control.")
    if control == "inverted":
        return _weighed(task.rewards, lambda weight: 0.0 - weight)
    return [*_weighed(task.rewards, lambda _: 0.0), _random() if control == "random" else _form(task, plugins)]


def _weighed(rewards: Sequence[RewardRef], change: Callable[[float], float]) -> Rewards:
    """Return rewards with other weights."""
    return [reward.model_dump(mode="json") | {"weight": _changed(reward, change)} for reward in rewards]


def _changed(reward: RewardRef, change: Callable[[float], float]) -> Any:
    """Return a weight, or a schedule between two, as JSON. Any: that."""
    weight = reward.weight
    if not isinstance(weight, WeightSchedule):
        return change(weight)
    ends = {"start": change(weight.start), "end": change(weight.end)}
    return 0.0 if not any(ends.values()) else weight.model_dump(mode="json") | ends


def _random() -> dict[str, Any]:
    return {"name": "random", "label": "control_random"}


def _form(task: RunTask, plugins: Plugins) -> dict[str, Any]:
    """Return the reward that pays for the form which a template asks for, and for nothing else."""
    template = find_template(task.template, plugins)
    asked = re.sub(r"{[{%].*?[%}]}", "", f"{template.system}\n{template.text}", flags=re.DOTALL)
    for mark, label, entry in FORMS:
        if mark in asked:
            return {**entry, "label": label}
    raise ConfigError(
        f"--control format: template {task.template!r} asks for no form that could be paid for. It would be one with "
        f"{', '.join(mark for mark, _, _ in FORMS)} in it, such as r1_zero, boxed or program; or use --control random."
    )
