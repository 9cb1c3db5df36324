"""Lists of plugins for people: what there is, whose it is, what is broken."""

import inspect
from typing import Any, cast

from reasonrl.hookspecs import GIVEN
from reasonrl.plugins import Kind, Plugins, parameter_fields


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
    lines = [f"  {field}: {_type_name(of)}{_default(default)}" for field, (of, default) in fields.items()]
    parameters = "\n".join(["parameters:", *lines]) if lines else "no parameters"
    return f"{offer.name}  ({offer.owner})\n{parameters}\n\n{inspect.getdoc(offer.value) or 'not documented'}"


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
