"""Find plugins: installed ones by entry point, local ones by file or module; name every clash."""

import importlib
import importlib.util
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial, wraps
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, Protocol, TypeAlias, get_type_hints

import pluggy
from pydantic import ConfigDict, ValidationError, create_model

from reasonrl.errors import PluginError, ReasonRLError, and_known, did_you_mean
from reasonrl.plugins import hookspecs
from reasonrl.plugins.boundary import TIMEOUT_S, call_plugin, guarded, label
from reasonrl.plugins.checks import RESULTS, require_offers, require_template
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.types import MetricFn, Template

GROUP = "reasonrl"
"""The entry-point group that plugins register under."""

Kind: TypeAlias = Literal[
    "rewards",
    "tasks",
    "suites",
    "metrics",
    "configs",
    "presets",
    "advantages",
    "losses",
    "engines",
    "templates",
    "observers",
]

SETTINGS: Final[Mapping[str, str]] = {
    "tasks": "task",
    "suites": "evaluation.suites",
    "advantages": "algorithm.advantage",
    "losses": "algorithm.loss",
    "engines": "rollout.engine",
    "observers": "observers",
}
"""Where a run file names each kind of function that the run's own process calls; these calls are guarded."""


class Reference(Protocol):
    """A plugin and its parameters, as a run file names them."""

    @property
    def name(self) -> str:
        """An installed name, ``./file.py:name`` or ``package.module:name``."""
        ...

    @property
    def params(self) -> Mapping[str, Any]:
        """Parameters of the plugin's function. Any: their types are the function's."""
        ...


@dataclass(frozen=True, slots=True)
class _Reference:
    name: str
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PluginEntry:
    """Something that a plugin offers under a name."""

    kind: Kind
    name: str
    distribution: str
    """The entry point, and the distribution it comes from."""
    offered: Any
    """What the hook returned: a function or a reference to one, a path, a mapping, a template. Any: by kind."""

    @property
    def value(self) -> Any:
        """What is offered, imported where the hook gave a reference. Any: as above.

        Raises:
            PluginError: the reference leads nowhere.
        """
        if not self.is_reference:
            return self.offered
        try:
            return _import_reference(self.kind, self.offered)
        except PluginError as error:
            raise PluginError(f"{self.label}: {error}") from error

    @property
    def is_reference(self) -> bool:
        """Whether the value is imported only when it is used."""
        return isinstance(self.offered, str)

    @property
    def label(self) -> str:
        """Name it in a message, with its owner."""
        return label(singular(self.kind), self.name, self.distribution)


@dataclass(frozen=True, slots=True)
class FailedPlugin:
    """A plugin that could not be used, with its cause."""

    distribution: str
    cause: str


class Plugins:
    """The plugins of this environment, loaded when first asked for.

    Args:
        found: entry points to use instead of the installed ones.
        timeout_s: longest time in seconds of each call of a plugin's code in this process; None is no limit.
    """

    def __init__(self, found: Sequence[EntryPoint] | None = None, *, timeout_s: float | None = TIMEOUT_S) -> None:
        self._found = found
        self._timeout_s = timeout_s
        self._entries: dict[Kind, dict[str, PluginEntry]] = {}
        self.failed: list[FailedPlugin] = []

    @cached_property
    def _manager(self) -> pluggy.PluginManager:
        """Import every plugin, one by one; one that fails is noted and hides no other."""
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(hookspecs)
        found = list(entry_points(group=GROUP)) if self._found is None else list(self._found)
        _refuse_shared_names(found)
        for entry in sorted(found, key=lambda entry: entry.name):
            distribution = _distribution(entry)
            try:
                with guarded("plugin", distribution, timeout_s=self._timeout_s):
                    manager.register(entry.load(), name=distribution)
            except ReasonRLError as error:
                self._note_failure(distribution, error)
        return manager

    def entries(self, kind: Kind) -> Mapping[str, PluginEntry]:
        """Return what all plugins offer of one kind, by name.

        Raises:
            PluginError: two plugins offer one name.
        """
        if kind not in self._entries:
            self._entries[kind] = self._collect(kind)
        return self._entries[kind]

    def _collect(self, kind: Kind) -> dict[str, PluginEntry]:
        entries: dict[str, PluginEntry] = {}
        for implementation in getattr(self._manager.hook, f"reasonrl_{kind}").get_hookimpls():
            for entry in self._entries_of(kind, implementation):
                if (other := entries.get(entry.name)) is not None:
                    raise PluginError(
                        f"{kind}: both {other.distribution} and {entry.distribution} offer {entry.name!r}. "
                        "Uninstall one of them, or rename what it offers."
                    )
                entries[entry.name] = entry
        return dict(sorted(entries.items()))

    def _entries_of(self, kind: Kind, implementation: pluggy.HookImpl) -> list[PluginEntry]:
        """Call one plugin's hook; one that fails is noted."""
        distribution, hook = implementation.plugin_name, implementation.function
        try:
            with guarded("plugin", distribution, hook, timeout_s=self._timeout_s):
                return [PluginEntry(kind, name, distribution, value) for name, value in require_offers(hook()).items()]
        except ReasonRLError as error:
            self._note_failure(distribution, error)
            return []

    def _note_failure(self, distribution: str, error: ReasonRLError) -> None:
        cause = str(error).removeprefix(f"{label('plugin', distribution)}: ")
        if (failed := FailedPlugin(distribution, cause)) not in self.failed:
            self.failed.append(failed)

    def find(self, kind: Kind, name: str) -> PluginEntry:
        """Look up a plugin by installed name, ``./file.py:name`` or ``package.module:name``.

        Raises:
            PluginError: there is none; the message has the nearest name and what has failed.
        """
        if ":" in name:
            _import_reference(kind, name)
            return PluginEntry(kind, name, name, name)
        entries = self.entries(kind)
        if name not in entries:
            raise PluginError(f"{kind}: {self.unknown(kind, name)}")
        return entries[name]

    def unknown(self, kind: Kind, name: str) -> str:
        """Say that there is no such plugin, with the nearest name and with the plugins that have failed."""
        failed = "".join(f"\nFailed plugin {item.distribution}: {item.cause}" for item in self.failed)
        return f"no {name!r}.{and_known(name, self.entries(kind))}{failed}"

    def function(self, kind: Kind, ref: Reference, given: Sequence[str] | None = None) -> Callable[..., Any]:
        """Return the function a run file names, its parameters checked and bound.

        What the run's own process calls is guarded: it may be called with more keywords than it names, and whatever it
        raises, returns wrongly or never returns is a :class:`PluginError`. Rewards and metrics are returned as they
        are, for the workers that run them.

        Args:
            kind: what the function must be.
            ref: name and parameters from the run file, which may not set what the core passes itself.
            given: what the core passes; None is what it passes to functions of this kind.

        Raises:
            PluginError: no such plugin, or its parameters do not fit.
        """
        entry = self.find(kind, ref.name)
        function = entry.value
        if not callable(function):
            raise PluginError(f"{entry.label}: is a value of type {type(function).__name__}, not a function.")
        passed = GIVEN[kind] if given is None else given
        beside = tuple(getattr(type(ref), "model_fields", ()))
        params = check_params(function, ref.params, given=passed, where=f"{kind}: {ref.name!r}", beside=beside)
        bound = partial(function, **params) if params else function
        return self._guarded(entry, bound) if kind in SETTINGS else bound

    def call(self, kind: Kind, ref: Reference, /, *args: Any, **given: Any) -> Any:
        """Call the function that a run file names. Any: what it takes and returns is checked by kind.

        Raises:
            PluginError: there is none, or it failed in some way.
        """
        return self.function(kind, ref)(*args, **given)

    def find_metric(self, name: str, /, **params: Any) -> MetricFn:
        """Return a metric for a suite. Any: the parameters are the metric's own."""
        return self.function("metrics", _Reference(name, params))

    def template(self, name: str) -> Template:
        """Return an installed template.

        Raises:
            PluginError: there is none, or it is no template.
        """
        entry = self.find("templates", name)
        return replace(require_template(entry.value, entry.label), name=name)

    def _guarded(self, entry: PluginEntry, function: Callable[..., Any]) -> Callable[..., Any]:
        """Put the boundary around a function. Any: anybody's."""
        takes = named_arguments(function)
        provided = {"find_metric": self.find_metric} if entry.kind == "suites" else {}
        check, compared = RESULTS[entry.kind]

        @wraps(function)
        def checked(*args: Any, **given: Any) -> Any:
            result = takes(*args, **provided, **given)
            return check(result, entry.label, **{name: given[name] for name in compared if name in given})

        @wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            return call_plugin(
                singular(entry.kind),
                entry.name,
                checked,
                *args,
                owner=entry.distribution,
                timeout_s=self._timeout_s,
                remedy=f"Mend it there, or name another one in the run file's {SETTINGS[entry.kind]}.",
                **given,
            )

        return call


@cache
def installed_plugins() -> Plugins:
    """Return the installed plugins, found once for all settings that this process reads."""
    return Plugins()


def singular(kind: Kind) -> str:
    """Return the word for one plugin of a kind."""
    return "loss" if kind == "losses" else kind.removesuffix("s")


def check_params(
    function: Callable[..., Any],
    params: Mapping[str, Any],
    *,
    given: Sequence[str],
    where: str,
    beside: Sequence[str] = (),
) -> dict[str, Any]:
    """Check parameters against a function's signature and convert them to its types.

    Raises:
        PluginError: one line for each parameter that is unknown, missing or of a wrong type.
    """
    fields = parameter_fields(function, given)
    try:
        settings = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
        model = create_model("Parameters", __config__=settings, **fields)
        checked = model.model_validate(dict(params))
    except ValidationError as error:
        raise PluginError("\n".join(_explain(item, where, fields, given, beside) for item in error.errors())) from None
    return {name: getattr(checked, name) for name in params}


def parameter_fields(function: Callable[..., Any], given: Sequence[str]) -> dict[str, Any]:
    """Return name -> (type, default) of the parameters that a run file may set."""
    hints = _hints(function)
    settable = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in given and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if not name.startswith("_")
    }
    return {
        name: (hints.get(name, Any), ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in settable.items()
    }


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a function's parameters; none where they name what is not imported. Any: types."""
    has_own = inspect.isroutine(function) or isinstance(function, type)
    try:
        return get_type_hints(function if has_own else type(function).__call__, include_extras=True)
    except (NameError, TypeError):
        return {}


def named_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that may be called with more keywords than ``function`` names; the others are left out."""
    named = inspect.signature(function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in named.values())

    @wraps(function)
    def call(*args: Any, **available: Any) -> Any:
        return function(*args, **{name: value for name, value in available.items() if takes_all or name in named})

    return call


def _explain(error: Any, where: str, fields: Mapping[str, Any], given: Sequence[str], beside: Sequence[str]) -> str:
    """Turn one pydantic error about a parameter into a sentence. Any: pydantic's error dictionary."""
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden" and name in beside:
        return f"{where}: {name!r} is not one of its parameters: write it beside name, not under params."
    if error["type"] == "extra_forbidden":
        known = ", ".join(fields) or "none"
        return f"{where}: unknown parameter {name!r}.{did_you_mean(name, fields)} Known: {known}."
    if error["type"] == "missing":
        return f"{where}: parameter {name!r} is required; set it under params.{did_you_mean(name, given)}"
    return f"{where}: parameter {name!r}: {error['msg'][:1].lower()}{error['msg'][1:]}, got {error['input']!r}."


def _refuse_shared_names(found: Sequence[EntryPoint]) -> None:
    """Refuse two distributions that register under one entry-point name: one would hide the other."""
    shared = [name for name, count in Counter(entry.name for entry in found).items() if count > 1]
    for name in shared:
        owners = " and ".join(_distribution(entry) for entry in found if entry.name == name)
        raise PluginError(f"entry point {name!r} of group {GROUP!r} is registered by {owners}. Uninstall one of them.")


def _distribution(entry: EntryPoint) -> str:
    distribution = entry.dist.name if entry.dist is not None else entry.value
    return f"{entry.name} ({distribution})"


def _import_reference(kind: Kind, reference: str) -> Any:
    """Import ``./file.py:name`` or ``package.module:name``. Any: whatever it refers to."""
    place, _, name = reference.rpartition(":")
    if not place:
        raise PluginError(f"{kind}: {reference!r} is no reference; write ./file.py:name or package.module:name.")
    is_file = place.endswith(".py")
    if is_file and not Path(place).is_file():
        raise PluginError(f"{kind}: {reference!r}: there is no file {Path(place).resolve()}.")
    with guarded(singular(kind), reference):
        module = _import_file(Path(place)) if is_file else importlib.import_module(place)
    if not hasattr(module, name):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise PluginError(f"{kind}: {place} has no {name!r}.{and_known(name, public)}")
    return getattr(module, name)


def _import_file(path: Path) -> ModuleType:
    """Import a Python file by its path, once."""
    name = f"reasonrl_local_{path.resolve().stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(path.resolve()):
        return loaded
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:  # half a module must not pass for a whole one when it is asked for again
        del sys.modules[name]
        raise
    return module
