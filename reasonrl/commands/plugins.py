"""Lists of plugins for people: what there is, whose it is, what has failed."""

import ast
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin

import yaml

from reasonrl.config.settings import AlgorithmSettings, RewardRef
from reasonrl.errors import PluginError
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.lookup import GROUP, Kind, PluginEntry, Plugins, parameter_fields
from reasonrl.scoring import adapters
from reasonrl.scoring.contract import ARGUMENTS, MARKS, Unit
from reasonrl.scoring.functions import is_marked_in_process

AT_ONCE: Final[Mapping[Unit, str]] = {
    "rollout": "one rollout",
    "group": "a group (the rollouts of one problem)",
    "batch": "a batch (all rollouts of a step)",
}
"""What a reward scores at once, in words."""

BOUNDS: Final[Mapping[str, str]] = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def list_plugins(kind: str, plugins: Plugins | None = None) -> str:
    """Return one line for each plugin of a kind, then what has failed."""
    plugins = plugins or Plugins()
    entries = plugins.entries(cast(Kind, kind))
    lines = [f"{entry.name}  ({entry.distribution})\n    {_sentence(entry)}" for entry in entries.values()]
    lines += [f"failed: {item.distribution}: {item.cause}" for item in plugins.failed]
    return "\n".join(lines) or f"no {kind}"


def show_plugin(kind: str, name: str, plugins: Plugins | None = None) -> str:
    """Return one plugin with its parameters and its documentation, or with its text."""
    entry = (plugins or Plugins()).find(cast(Kind, kind), name)
    head = f"{entry.name}  ({entry.distribution})"
    match entry.kind:
        case "configs":
            return f"{head}\n{entry.value}\n\n{entry.value.read_text(encoding='utf-8')}"
        case "presets":
            values = AlgorithmSettings.model_validate(name).model_dump(mode="json")
            return f"{head}\n\n{yaml.safe_dump(values, sort_keys=False).rstrip()}"
        case "templates":
            return f"{head}\n{'the turn of a user' if entry.value.chat else 'the whole prompt'}\n\n{entry.value.text}"
    parameters = "\n".join(_parameters(parameter_fields(entry.value, GIVEN[entry.kind])))
    return f"{head}\n{parameters}\n\n{inspect.getdoc(entry.value) or 'not documented'}"


def show_reward(name: str, plugins: Plugins | None = None) -> str:
    """Return a reward with what it scores, what it is given, its parameters, its source and its documentation."""
    entry = (plugins or Plugins()).find("rewards", name)
    function = entry.value
    if not callable(function):
        raise PluginError(f"{entry.label}: is a value of type {type(function).__name__}, not a function.")
    style = adapters.style_of(function)
    given = adapters.given(function, RewardRef(name=name))
    fields = parameter_fields(function, given)
    return "\n".join(
        [
            f"{entry.name}  ({entry.distribution}{_version(entry.distribution)})",
            f"source: {_source(function)}",
            *_arguments(function, style, [argument for argument in given if argument not in fields]),
            *_parameters(fields),
            "",
            inspect.getdoc(function) or "not documented",
        ]
    )


def _arguments(function: Callable[..., Any], style: str, given: Sequence[str]) -> list[str]:
    """Say what a reward scores at once and what it is given. Any: its signature is the author's."""
    named = [name for name in adapters.parameters(function) if name in given]
    how = _how_called(function)
    if style != "plain":
        at_once = AT_ONCE["rollout" if style == "verl" else "batch"]
        return [f"scores: {at_once}; {how}", f"signature: {style}'s; it is given {', '.join(named)}"]
    units: list[Unit] = [unit for unit, marks in MARKS.items() if not set(marks).isdisjoint(named)]
    unit = units[0] if units else "rollout"
    lines = [f"  {name}: {_plain(ARGUMENTS[unit].get(name, 'not for this unit'))}" for name in named]
    return [f"scores: {AT_ONCE[unit]}; {how}", "given:", *lines]


def _how_called(function: Callable[..., Any]) -> str:
    """Say where a reward runs, unless the run file says otherwise. Any: its signature is the author's."""
    if adapters.is_async(function):
        return "async, awaited on one event loop"
    return "called in the run's own process" if is_marked_in_process(function) else "called in a worker process"


def _plain(documentation: str) -> str:
    """Return a line of documentation without its markup."""
    return re.sub(r":class:`~?(?:\w+\.)*(\w+)`", r"\1", documentation)


def _source(function: Callable[..., Any]) -> str:
    """Return where a function is written: file:line. Any: its signature is the author's."""
    plain = inspect.unwrap(function)
    try:
        return f"{inspect.getsourcefile(plain)}:{inspect.getsourcelines(plain)[1]}"
    except (OSError, TypeError):  # it is an object, or its file is gone
        return f"{plain.__module__}:{getattr(plain, '__qualname__', type(plain).__qualname__)}"


def _version(distribution: str) -> str:
    """Return the version of the distribution that a plugin comes from, if it comes from one."""
    entry = next((entry for entry in entry_points(group=GROUP) if distribution.startswith(f"{entry.name} (")), None)
    return f" {entry.dist.version}" if entry is not None and entry.dist is not None else ""


def _parameters(fields: Mapping[str, Any]) -> list[str]:
    """Return a line for each parameter. Any: pydantic's field definitions."""
    lines = [f"  {field}: {type_name(of)}{_default(default)}" for field, (of, default) in fields.items()]
    return ["parameters:", *lines] if lines else ["no parameters"]


def _sentence(entry: PluginEntry) -> str:
    """Say in a line what a plugin is."""
    match entry.kind:
        case "configs":
            from reasonrl.config.runfile import load_any

            return load_any(entry.value).description
        case "presets":
            method = AlgorithmSettings.model_validate(entry.name)
            return f"advantage {method.advantage.name}, loss {method.loss.name}, reduction {method.reduction}"
        case "templates":
            return str(entry.value.text.splitlines()[0])
    documentation = _documentation_at(entry.offered) if entry.is_reference else inspect.getdoc(entry.value)
    return (documentation or "not documented").splitlines()[0]


def _documentation_at(reference: str) -> str | None:
    """Read the docstring that a reference leads to without importing its module, which may need torch."""
    module, _, name = reference.partition(":")
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # a package on the way is missing
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return f"not found: {reference}"
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef))
    return next((ast.get_docstring(node) for node in functions if node.name == name), None)


def type_name(annotation: Any) -> str:
    """Write a type as it stands in code, with the bounds of its value. Any: that is what annotations are."""
    if get_origin(annotation) is Annotated:
        of, *metadata = get_args(annotation)
        bounds = [getattr(item, "metadata", [item]) for item in metadata]
        limits = [(name, getattr(item, name, None)) for items in bounds for item in items for name in BOUNDS]
        return " ".join(
            [type_name(of), ", ".join(f"{BOUNDS[name]} {limit}" for name, limit in limits if limit is not None)]
        )
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(map(type_name, get_args(annotation)))
    if annotation is type(None):
        return "None"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _default(default: Any) -> str:
    """Write a default, or that there is none. Any: the parameter's own type."""
    return "  (required)" if default is ... else f" = {default!r}"
