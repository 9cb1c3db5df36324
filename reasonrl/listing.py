"""Lists of plugins for people: what there is, whose it is, what is broken."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final, cast

from reasonrl.config import RewardRef
from reasonrl.errors import PluginError
from reasonrl.hookspecs import GIVEN
from reasonrl.plugins import GROUP, Kind, Plugins, parameter_fields
from reasonrl.scoring import adapters
from reasonrl.scoring.contract import ARGUMENTS, MARKS, Unit

AT_ONCE: Final[Mapping[Unit, str]] = {
    "rollout": "one rollout",
    "group": "a group (the rollouts of one problem)",
    "batch": "a batch (all rollouts of a step)",
}
"""What a reward scores at once, in words."""


def list_plugins(kind: str, plugins: Plugins | None = None) -> str:
    """Return one line for each offer of a kind, then what is broken."""
    plugins = plugins or Plugins()
    offers = plugins.offers(cast(Kind, kind))
    lines = [f"{offer.name}  ({offer.owner})\n    {_sentence(offer.value)}" for offer in offers.values()]
    lines += [f"broken: {item.owner}: {item.cause}" for item in plugins.broken]
    return "\n".join(lines) or f"no {kind}"


def show_plugin(kind: str, name: str, plugins: Plugins | None = None) -> str:
    """Return one offer with its parameters and its documentation."""
    offer = (plugins or Plugins()).find(cast(Kind, kind), name)
    if not callable(offer.value):
        return f"{offer.name}  ({offer.owner})\n{offer.value}\n\n{offer.value.read_text(encoding='utf-8')}"
    fields = parameter_fields(offer.value, GIVEN[kind])
    parameters = "\n".join(_parameters(fields))
    return f"{offer.name}  ({offer.owner})\n{parameters}\n\n{inspect.getdoc(offer.value) or 'not documented'}"


def show_reward(name: str, plugins: Plugins | None = None) -> str:
    """Return a reward with what it scores, what it is given, its parameters, its source and its documentation."""
    plugins = plugins or Plugins()
    offer = plugins.find("rewards", name)
    if not callable(offer.value):
        raise PluginError(f"rewards: {name!r} is a {type(offer.value).__name__}, not a function.")
    style = adapters.style_of(offer.value)
    given = adapters.given(offer.value, RewardRef(name=name))
    fields = parameter_fields(offer.value, given)
    return "\n".join(
        [
            f"{offer.name}  ({offer.owner}{_version(offer.owner)})",
            f"source: {_source(offer.value)}",
            *_arguments(offer.value, style, [argument for argument in given if argument not in fields]),
            *_parameters(fields),
            "",
            inspect.getdoc(offer.value) or "not documented",
        ]
    )


def _arguments(function: Callable[..., Any], style: str, given: Sequence[str]) -> list[str]:
    """Say what a reward scores at once and what it is given. Any: its signature is the author's."""
    named = [name for name in adapters.parameters(function) if name in given]
    how = "async, awaited on one event loop" if adapters.is_async(function) else "called in a worker process"
    if style != "plain":
        at_once = AT_ONCE["rollout" if style == "verl" else "batch"]
        return [f"scores: {at_once}; {how}", f"signature: {style}'s; it is given {', '.join(named)}"]
    units: list[Unit] = [unit for unit, marks in MARKS.items() if not set(marks).isdisjoint(named)]
    unit = units[0] if units else "rollout"
    lines = [f"  {name}: {_plain(ARGUMENTS[unit].get(name, 'not for this unit'))}" for name in named]
    return [f"scores: {AT_ONCE[unit]}; {how}", "given:", *lines]


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


def _version(owner: str) -> str:
    """Return the version of the distribution that an offer comes from, if it comes from one."""
    entry = next((entry for entry in entry_points(group=GROUP) if owner.startswith(f"{entry.name} (")), None)
    return f" {entry.dist.version}" if entry is not None and entry.dist is not None else ""


def _parameters(fields: Mapping[str, Any]) -> list[str]:
    """Return a line for each parameter. Any: pydantic's field definitions."""
    lines = [f"  {field}: {_type_name(of)}{_default(default)}" for field, (of, default) in fields.items()]
    return ["parameters:", *lines] if lines else ["no parameters"]


def _sentence(value: Any) -> str:
    """Return the first line of documentation. Any: a function, or the path of a recipe."""
    if callable(value):
        return (inspect.getdoc(value) or "not documented").splitlines()[0]
    from reasonrl.runfile import load_run

    return load_run(value).description


def _type_name(annotation: Any) -> str:
    """Write a type as it stands in code. Any: that is what annotations are."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _default(default: Any) -> str:
    """Write a default, or that there is none. Any: the parameter's own type."""
    return "  (required)" if default is ... else f" = {default!r}"
