"""Pages of the API reference: every public name, documented by its docstring."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

GROUPS: Final[Mapping[str, str]] = {
    "reasonrl.api": "Train, evaluate, look",
    "reasonrl.types": "The data of a step",
    "reasonrl.plugins": "Plugins",
    "reasonrl.config": "Settings",
    "reasonrl.errors": "Errors",
}
"""Headings of the names of the package by where they are defined."""

WITHOUT_MEMBERS: Final = ("reasonrl.config",)
"""Whose members have a reference of their own."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A page of the reference."""

    module: str
    about: str
    groups: Mapping[str, str] = field(default_factory=dict)
    """As :data:`GROUPS`; none for a module whose names stand in one list."""


REFERENCES: Final = (
    Reference("reasonrl", "What programs, notebooks and plugins import.", GROUPS),
    Reference("reasonrl.plugins.hookspecs", "The hooks of plugins; `docs/plugins` has a page for each."),
    Reference("reasonrl_author", "For the tests of a reward."),
    Reference("reasonrl_grading", "Are two mathematical answers the same?"),
    Reference("reasonrl_grading.answers", "Read answers out of completions."),
    Reference("reasonrl_sandbox", "Run untrusted programs, and judge their answers outside."),
)


def api_pages() -> Mapping[Path, str]:
    """Return the pages by path."""
    return {Path("api") / f"{each.module}.md": _page(each) for each in REFERENCES}


def _page(reference: Reference) -> str:
    module = import_module(reference.module)
    lines = [f"# {reference.module}", "", reference.about, ""]
    if not hasattr(module, "__all__"):
        directives = [f".. automodule:: {reference.module}", "   :members:"]
        return "\n".join([*lines, *_evaluated(directives)])
    for heading, names in _grouped(module, reference.groups):
        directives = [line for name in names for line in _directive(module, name)]
        lines += [*([f"## {heading}", ""] if heading else []), *_evaluated(directives)]
    return "\n".join(lines)


def _grouped(module: ModuleType, groups: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield headings with their names.

    Raises:
        LookupError: a name belongs to none.
    """
    if not groups:
        yield "", sorted(module.__all__, key=str.lower)
        return
    found = {name: _group(module, name, groups) for name in module.__all__}
    for prefix, heading in groups.items():
        yield heading, sorted((name for name, group in found.items() if group == prefix), key=str.lower)


def _group(module: ModuleType, name: str, groups: Mapping[str, str]) -> str:
    origin = _origin(module, name)
    for prefix in groups:
        if origin == prefix or origin.startswith(f"{prefix}."):
            return prefix
    raise LookupError(f"{module.__name__}.{name} is of {origin}, which has no heading in {__name__}.GROUPS")


def _origin(module: ModuleType, name: str) -> str:
    """Return where a name is defined: of one that is no class or function, the module that has it in its source."""
    value = getattr(module, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__module__
    for prefix in ("reasonrl.types", "reasonrl.plugins.types", "reasonrl.plugins.hookspecs"):
        if getattr(import_module(prefix), name, None) is value:
            return prefix
    return module.__name__


def _directive(module: ModuleType, name: str) -> list[str]:
    """Return the directive of a name, which is documented where users import it from."""
    value, path = getattr(module, name), f"{module.__name__}.{name}"
    if inspect.isclass(value):
        kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
        has_members = not value.__module__.startswith(WITHOUT_MEMBERS)
        return [f".. {kind}:: {path}", *(["   :members:"] if has_members else []), ""]
    if inspect.isfunction(value):
        return [f".. autofunction:: {path}", ""]
    origin = _origin(module, name)
    return [f".. autodata:: {origin}.{name}", "   :no-value:", ""]


def _evaluated(directives: list[str]) -> list[str]:
    return ["```{eval-rst}", *directives, "```", ""]
