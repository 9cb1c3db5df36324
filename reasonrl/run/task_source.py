"""What ``reasonrl tasks`` works on: a task, a suite, or both where they have one name."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from reasonrl.config.settings import PluginRef, SuiteRef
from reasonrl.config.suite_file import is_suite_file
from reasonrl.errors import ConfigError, PluginError, and_known, did_you_mean
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.loading import Kind
from reasonrl.plugins.lookup import PluginEntry, Plugins, parameter_fields
from reasonrl.plugins.types import Suite
from reasonrl.run.inputs import load_suite
from reasonrl.run.tasks import load_problems
from reasonrl.types import Problem, Split

NAMED_REWARD: Final = re.compile(r"rewards? ``(\w+)``")
"""How the documentation of a task names the reward that scores it."""
DATA_PARAMETERS: Final = ("data", "path")
"""Parameters of tasks and suites that take a file or folder, the usual one first."""


@dataclass(frozen=True)
class TaskSource:
    """A name with parameters, and the task and the suite that it stands for."""

    name: str
    plugins: Plugins
    task: PluginRef | None
    suite_ref: SuiteRef | None

    @cached_property
    def suite(self) -> Suite | None:
        """The suite with its problems, loaded once; None where there is none.

        Raises:
            ReasonRLError: it cannot be loaded.
        """
        return None if self.suite_ref is None else load_suite(self.suite_ref, self.plugins)

    def problems(self, split: Split) -> Sequence[Problem]:
        """Load one side of the task, or the problems of the suite where there is no task.

        Raises:
            ConfigError: training problems of a suite are asked for.
            ReasonRLError: they cannot be loaded.
        """
        if self.task is not None:
            return load_problems(self.task, self.plugins, split=split)
        if split == "train":
            raise ConfigError(f"{self.name!r} is a suite, which has no training problems; use --split heldout.")
        assert self.suite_ref is not None
        return load_suite(self.suite_ref, self.plugins).problems

    @property
    def function(self) -> Callable[..., Any]:
        """The task's function, or else the suite's. Any: its signature is its author's."""
        return self.plugins.find("suites" if self.task is None else "tasks", self.name).function

    @property
    def returns_all_for_either_split(self) -> bool:
        """Whether the task has a share of held-out problems that is 0, so that both splits are the same problems."""
        if self.task is None:
            return False
        fields = parameter_fields(self.function, GIVEN["tasks"])
        default = fields["heldout_share"][1] if "heldout_share" in fields else None
        return bool(self.task.params.get("heldout_share", default) == 0)

    @property
    def usual_reward(self) -> str | None:
        """The first installed reward that the documentation names, such as ``the reward ``unit_tests````."""
        named = NAMED_REWARD.findall(inspect.getdoc(self.function) or "")
        return next((name for name in named if name in self.plugins.entries("rewards")), None)


def find_source(
    name: str,
    plugins: Plugins,
    *,
    kinds: Sequence[Kind] = ("tasks", "suites"),
    params: Mapping[str, Any] | None = None,
    data: str | None = None,
    at_most: int | None = None,
) -> TaskSource:
    """Return the task and the suite of a name; nothing is loaded yet.

    Args:
        name: an installed name, ``NAME:VALUE``, ``./file.py:function`` or ``module:function``.
        plugins: where they come from.
        kinds: ``tasks``, ``suites`` or both.
        params: parameters; each goes to whichever of the two takes it. Any: their types are the functions'.
        data: a file or folder for the parameter ``data`` or ``path``.
        at_most: for the parameter ``max_problems`` of what draws its problems, unless ``params`` sets it.

    Raises:
        PluginError: there is no such task or suite, or neither takes a parameter.
        ConfigError: ``data`` is given and neither takes one.
    """
    if is_suite_file(name) and "suites" in kinds:
        if params or data:
            raise ConfigError(f"{name}: a suite in a file has its settings there: leave out --param and --data.")
        return TaskSource(name, plugins, None, SuiteRef(name=name))
    entries = _entries(name, plugins, kinds)
    given = {**_data(name, entries, data), **(params or {})}
    _refuse_unknown(name, entries, given)
    usual = {} if at_most is None else {"max_problems": at_most}
    task, suite = (_params(entries.get(kind), {**usual, **given}) for kind in ("tasks", "suites"))
    return TaskSource(
        name=name,
        plugins=plugins,
        task=None if task is None else PluginRef(name=name, params=task),
        suite_ref=None if suite is None else SuiteRef(name=name, params=suite),
    )


def _entries(name: str, plugins: Plugins, kinds: Sequence[Kind]) -> dict[Kind, PluginEntry]:
    head = name.partition(":")[0]
    installed = [kind for kind in kinds if head in plugins.entries(kind)]
    found = {kind: plugins.find(kind, name) for kind in installed if ":" not in name or _is_family(plugins, kind, head)}
    if not found and ":" in name:
        return _referred(name, plugins, kinds)
    if not found:
        known = {one for kind in kinds for one in plugins.entries(kind)}
        raise PluginError(f"{' or '.join(kinds)}: no {name!r}.{and_known(name, known)}")
    return found


def _is_family(plugins: Plugins, kind: Kind, head: str) -> bool:
    return plugins.entries(kind)[head].family is not None


def _referred(name: str, plugins: Plugins, kinds: Sequence[Kind]) -> dict[Kind, PluginEntry]:
    """Tell whether a function of a file is a task, which names ``split``, or a suite."""
    is_task = "split" in inspect.signature(plugins.find("tasks", name).function).parameters
    kind: Kind = "tasks" if is_task and "tasks" in kinds else "suites"
    return {kind: plugins.find(kind, name)}


def _data(name: str, entries: Mapping[Kind, PluginEntry], data: str | None) -> dict[str, Any]:
    if data is None:
        return {}
    fields = {field for kind, entry in entries.items() for field in parameter_fields(entry.function, GIVEN[kind])}
    taken = [parameter for parameter in DATA_PARAMETERS if parameter in fields]
    if not taken:
        raise ConfigError(f"--data: {name!r} reads no file: it has no parameter 'data'.")
    return {taken[0]: data}


def _refuse_unknown(name: str, entries: Mapping[Kind, PluginEntry], given: Mapping[str, Any]) -> None:
    fields = {field for kind, entry in entries.items() for field in parameter_fields(entry.function, GIVEN[kind])}
    for parameter in given:
        if parameter not in fields:
            known = ", ".join(sorted(fields)) or "none"
            raise PluginError(
                f"{name!r}: unknown parameter {parameter!r}.{did_you_mean(parameter, fields)} Known: {known}."
            )


def _params(entry: PluginEntry | None, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return those of the parameters that a function takes; None without a function."""
    if entry is None:
        return None
    fields = parameter_fields(entry.function, GIVEN[entry.kind])
    return {parameter: value for parameter, value in given.items() if parameter in fields}


def family_of(name: str, plugins: Plugins) -> Sequence[str]:
    """Return all names ``NAME:VALUE`` of a task or suite that offers many things, such as ``reasoning_gym``.

    Raises:
        ReasonRLError: a package that knows them is not installed.
    """
    kinds: tuple[Kind, ...] = ("tasks", "suites")
    found = [plugins.entries(kind)[name].family for kind in kinds if name in plugins.entries(kind)]
    return [f"{name}:{value}" for family in found[:1] if family is not None for value in family.values()]
