"""Lists of plugins for people: what there is, whose it is, what has failed."""

import ast
import importlib.util
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Union, cast, get_args, get_origin

import yaml

from reasonrl.config.settings import AlgorithmSettings, RewardRef
from reasonrl.config.suite_file import is_suite_file, read_suite_file
from reasonrl.errors import PluginError, ReasonRLError, did_you_mean
from reasonrl.plugins.boundary import guarded_import, label
from reasonrl.plugins.catalog import catalog
from reasonrl.plugins.checks import require_template
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.leftovers import leftovers
from reasonrl.plugins.loading import GROUP, IMPORT_TIMEOUT_S, Kind, PluginWarning, owner_of
from reasonrl.plugins.lookup import PluginEntry, Plugins, parameter_fields, singular
from reasonrl.scoring import adapters
from reasonrl.scoring.contract import ARGUMENTS, MARKS, Unit
from reasonrl.scoring.functions import is_marked_in_process

AT_ONCE: Final[Mapping[Unit, str]] = {
    "rollout": "one rollout",
    "group": "a group (the rollouts of one problem)",
    "batch": "a batch (all rollouts of a step)",
}
"""What a reward scores at once, in words."""

KINDS: Final[Sequence[Kind]] = get_args(Kind)
LISTED: Final = ("source", "size", "license")
"""What a list says of published data."""
BOUNDS: Final[Mapping[str, str]] = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def list_plugins(kind: str, plugins: Plugins | None = None) -> str:
    """Return one line for each plugin of a kind, then what cannot be used."""
    plugins = plugins or Plugins()
    lines, warnings = _entry_lines(plugins, cast(Kind, kind))
    return "\n".join([*lines, *warnings, *map(_warning, plugins.failed)]) or f"no {kind}"


def list_packages(plugins: Plugins | None = None) -> str:
    """Return every package that offers something, with how much of what, then all that is wrong with any."""
    plugins = plugins or Plugins()
    offered = {owner: Counter[str]() for owner in plugins.owners()}
    for kind in KINDS:
        for entry in plugins.entries(kind).values():
            offered[entry.distribution][kind] += 1
    lines = [f"{owner}{_version(owner)}\n    {_counted(counts)}" for owner, counts in offered.items()]
    return "\n".join([*lines, *plugin_warnings(plugins)])


def plugin_warnings(plugins: Plugins) -> Sequence[str]:
    """Return a line for all that is wrong with an installed plugin: what it costs those who use it, or everybody."""
    unusable = [warning for kind in KINDS for warning in _entry_lines(plugins, kind)[1]]
    by_import = [PluginWarning(leftover.owner, str(leftover)) for leftover in leftovers()]
    return [*map(_warning, plugins.failed), *unusable, *map(_warning, [*plugins.remarks, *by_import])]


def _entry_lines(plugins: Plugins, kind: Kind) -> tuple[list[str], list[str]]:
    """Return the lines of a kind's plugins, and a warning for each that cannot be used."""
    lines, warnings = [], [f"warning: {clash}" for clash in plugins.clashes(kind)]
    known, unknown = _catalog(kind)
    warnings += unknown
    for entry in plugins.entries(kind).values():
        try:
            with guarded_import(singular(kind), entry.name, timeout_s=IMPORT_TIMEOUT_S):
                lines.append(f"{entry.name}  ({entry.distribution})\n    {_sentence(entry)}")
                if entry.name in known:
                    lines.append(f"    {' | '.join(known[entry.name][fact] for fact in LISTED)}")
        except ReasonRLError as error:
            cause = str(error).removeprefix(f"{label(singular(kind), entry.name)}: ").removeprefix(f"{entry.label}: ")
            warnings.append(f"warning: {entry.label}: {cause}")
    return lines, warnings


def _catalog(kind: Kind) -> tuple[Mapping[str, Mapping[str, str]], list[str]]:
    """Return what is known of the data behind tasks and suites, and a warning where a package cannot say it."""
    try:
        return (catalog() if kind in ("tasks", "suites") else {}), []
    except PluginError as error:
        return {}, [f"warning: {error}"]


def _warning(warning: PluginWarning) -> str:
    return f"warning: {warning.distribution}: {warning.cause}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in counts.items()) or "offers nothing that can be used"


def show(kind: Kind, name: str, plugins: Plugins | None = None) -> str:
    """Return one plugin with its parameters and its documentation, or with its text.

    Raises:
        PluginError: there is none, or it cannot be shown for what it is.
    """
    if kind == "suites" and is_suite_file(name):
        return _show_suite_file(name)
    entry = (plugins or Plugins()).find(kind, name)
    with guarded_import(singular(kind), name, timeout_s=IMPORT_TIMEOUT_S):
        return _show_reward(entry) if kind == "rewards" else _show_plugin(entry)


def _show_plugin(entry: PluginEntry) -> str:
    head = f"{entry.name}  ({entry.distribution})"
    match entry.kind:
        case "configs":
            return f"{head}\n{entry.offered}\n\n{Path(entry.offered).read_text(encoding='utf-8')}"
        case "presets":
            return f"{head}\n\n{_preset(AlgorithmSettings.model_validate(entry.name))}"
        case "templates":
            return f"{head}\n{'the turn of a user' if entry.value.chat else 'the whole prompt'}\n\n{entry.value.text}"
    parameters = "\n".join(_parameters(parameter_fields(entry.function, GIVEN[entry.kind])))
    facts = "".join(f"{name}: {fact}\n" for name, fact in _catalog(entry.kind)[0].get(entry.name, {}).items())
    return f"{head}\n{facts}{parameters}\n\n{inspect.getdoc(entry.value) or 'not documented'}{_members(entry)}"


def _members(entry: PluginEntry) -> str:
    """Name all that one function offers as ``NAME:VALUE``."""
    if (family := entry.family) is None or entry.params:
        return ""
    try:
        return f"\n\n{', '.join(f'{entry.name}:{value}' for value in family.values())}"
    except ReasonRLError as error:
        return f"\n\n{error}"


def _show_suite_file(name: str) -> str:
    """Return a suite of a YAML file with every default filled in."""
    file = read_suite_file(name)
    head = f"{file.suite}  ({name})\n{file.description}".strip()
    return f"{head}\n\n{yaml.safe_dump(file.model_dump(mode='json'), sort_keys=False, allow_unicode=True)}".rstrip()


def _preset(method: AlgorithmSettings) -> str:
    """Return a preset as it stands in a run file, and what of it depends on the engine."""
    values = yaml.safe_dump(method.model_dump(mode="json"), sort_keys=False)
    notes = [f"# importance, engine {name}: {method.describe_importance(name)}" for name in ("local", "vllm")]
    return values + "\n".join(notes)


def _show_reward(entry: PluginEntry) -> str:
    """Return a reward with what it scores, what it is given, its parameters, its source and its documentation."""
    function = entry.function
    style = adapters.style_of(function)
    given = adapters.given(function, RewardRef(name=entry.name))
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
    entry = next((entry for entry in entry_points(group=GROUP) if owner_of(entry) == distribution), None)
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
            from reasonrl.config.stages import is_pipeline_file, load_pipeline

            path = Path(entry.offered)
            return load_pipeline(path).config.description if is_pipeline_file(path) else load_any(path).description
        case "presets":
            method = AlgorithmSettings.model_validate(entry.name)
            return f"advantage {method.advantage.name}, loss {method.loss.name}, reduction {method.reduction}"
        case "templates":
            return str(require_template(entry.value, entry.label).text.splitlines()[0])
    if not entry.is_reference and not callable(entry.value):
        raise PluginError(f"is a value of type {type(entry.value).__name__}, not a function.")
    documentation = _documentation_at(entry.offered) if entry.is_reference else inspect.getdoc(entry.value)
    return (documentation or "not documented").splitlines()[0]


def _documentation_at(reference: str) -> str | None:
    """Read the docstring that a reference leads to without importing its module, which may need torch."""
    module, _, name = reference.partition(":")
    spec = importlib.util.find_spec(module)  # which imports the packages around it
    if spec is None or spec.origin is None:
        raise PluginError(f"{reference!r} leads nowhere: there is no module {module!r}.")
    if not spec.origin.endswith(".py"):
        return None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"), spec.origin)
    if not {name, "*", "__getattr__"}.intersection(_names(tree)):
        raise PluginError(f"{reference!r} leads nowhere: the module has no {name!r}.{did_you_mean(name, _names(tree))}")
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef))
    return next((ast.get_docstring(node) for node in functions if node.name == name), None)


def _names(tree: ast.Module) -> Iterator[str]:
    """Yield what a module may have as attributes: all that is defined, assigned or imported somewhere in it."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.alias(name=name, asname=local):
                yield local or name


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
