"""Everything that decides a run, as a flat mapping that its manifest keeps: settings, and defaults of its plugins.

What the run file leaves to a plugin's own defaults is not in the settings, yet it decides the run: another version of
the plugin may have others. A resumed run is compared with what it began with.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from reasonrl.config.kinds import AnyConfig
from reasonrl.config.settings import PluginRef, RewardRef, RunConfig
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.loading import Kind
from reasonrl.plugins.lookup import Plugins, parameter_fields
from reasonrl.plugins.types import Suite
from reasonrl.run.tasks import TaskProblems
from reasonrl.scoring import adapters
from reasonrl.types import Problem, digest

Flat: TypeAlias = Mapping[str, Any]
"""Values by dotted key. Any: JSON values."""

SAMPLED: Final = ("template", "max_new_tokens", "num_samples", "temperature", "stop", "version")
"""What a suite says of its own measurement."""


def flat_settings(config: AnyConfig) -> dict[str, Any]:
    """Return all settings of a run by dotted key. Any: JSON values."""
    return dict(_flat(config.model_dump(mode="json"), ""))


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a JSON value with their keys; a list of plain values is one. Any: JSON values."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{key}.{index}")
    else:
        yield key, value


def plugin_defaults(references: Mapping[str, tuple[Kind, PluginRef]], plugins: Plugins) -> dict[str, Any]:
    """Return the defaults of those parameters that the run file leaves to the plugins. Any: JSON values.

    Args:
        references: plugins by the key that names them in the run file.
        plugins: where they come from.
    """
    return {
        f"{key}.params.{name}": _plain(default)
        for key, (kind, ref) in references.items()
        for name, default in _defaults(kind, ref, plugins).items()
        if name not in ref.params
    }


def _defaults(kind: Kind, ref: PluginRef, plugins: Plugins) -> dict[str, Any]:
    """Return the defaults of a plugin's parameters. Any: the parameters' own types."""
    function = plugins.find(kind, ref.name).value
    given = adapters.given(function, ref) if isinstance(ref, RewardRef) else GIVEN[kind]
    fields = parameter_fields(function, given)
    return {name: default for name, (_, default) in fields.items() if default is not ...}


def _plain(value: Any) -> Any:
    """Return a value as JSON keeps it; of an object its text, or its type where that holds an address. Any: JSON."""

    def described(other: object) -> str:
        text = repr(other)
        return type(other).__name__ if " at 0x" in text else text

    return json.loads(json.dumps(value, default=described))


def policy_references(config: RunConfig) -> dict[str, tuple[Kind, PluginRef]]:
    """Return the plugins of a run whose parameters decide what is learned and measured, by key."""
    return {
        **{task.key: ("tasks", task.ref) for task in config.tasks},
        **{
            f"{key}.{index}": ("rewards", ref)
            for key, rewards in config.reward_lists.items()
            for index, ref in enumerate(rewards)
        },
        **{f"evaluation.suites.{index}": ("suites", ref) for index, ref in enumerate(config.evaluation.suites)},
        "algorithm.advantage": ("advantages", config.algorithm.advantage),
        "algorithm.loss": ("losses", config.algorithm.loss),
    }


def data_settings(tasks: Sequence[TaskProblems], suites: Sequence[Suite]) -> dict[str, Any]:
    """Return which problems a run learns from, and how it measures on which. Any: JSON values."""
    found: dict[str, Any] = {f"{each.task.key}.problems": _described(each.problems) for each in tasks}
    found |= {f"{each.task.key}.problem_weights": digest(*each.weights) for each in tasks if each.weights is not None}
    return {**found, **suite_settings(suites)}


def suite_settings(suites: Sequence[Suite]) -> dict[str, Any]:
    """Return how suites are measured, and on which problems. Any: JSON values."""
    found: dict[str, Any] = {}
    for suite in suites:
        found |= {f"heldout.{suite.name}.{name}": _plain(getattr(suite, name)) for name in SAMPLED}
        found[f"heldout.{suite.name}.problems"] = _described(suite.problems)
    return found


def _described(problems: Sequence[Problem]) -> str:
    content = digest(*(part for problem in problems for part in (problem.id, problem.prompt, problem.answer)))
    return f"{len(problems)} problems, digest {content}"
