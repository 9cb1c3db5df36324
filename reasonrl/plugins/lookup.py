"""Find plugins: installed ones by entry point, local ones by file or module; name every clash."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial, wraps
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, create_model, field_validator

from reasonrl.errors import PluginError, and_known, did_you_mean
from reasonrl.plugins.boundary import TIMEOUT_S, call_plugin, guarded_import, label
from reasonrl.plugins.checks import RESULTS, require_template
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.loading import IMPORT_TIMEOUT_S, Kind, PluginSet, PluginWarning, clash, installed_set
from reasonrl.plugins.types import Family, MetricFn, Template
from reasonrl.plugins.values import refuse_lookalikes

SETTINGS: Final[Mapping[str, str]] = {
    "tasks": "task",
    "suites": "evaluation.suites",
    "advantages": "algorithm.advantage",
    "losses": "algorithm.loss",
    "engines": "rollout.engine",
    "observers": "observers",
    "trackers": "run.trackers",
}
"""Where a run file names each kind of function that the run's own process calls; these calls are guarded."""


_SOURCE: Final = "__reasonrl_source__"
"""Attribute of the module of a local file: the text that it was made of."""

VALUES: Final[Sequence[Kind]] = ("configs", "presets", "templates")
"""What a hook offers as values; for what is a function the text that refers to one may stand."""


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
    params: Mapping[str, str] = field(default_factory=dict)
    """Parameters that the name itself sets, where what is offered is marked by ``named_by``."""

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
    def function(self) -> Callable[..., Any]:
        """What is offered, where that is a function. Any: its signature is its author's.

        Raises:
            PluginError: it is none, or one in C that does not say what it takes.
        """
        if not callable(self.value):
            raise PluginError(f"{self.label}: is a value of type {type(self.value).__name__}, not a function.")
        function: Callable[..., Any] = self.value
        try:
            inspect.signature(function)
        except (TypeError, ValueError):
            raise PluginError(
                f"{self.label}: does not say what it takes; write a function of Python around it."
            ) from None
        return function

    @property
    def family(self) -> Family | None:
        """What it offers by names of the form ``NAME:VALUE``, where it is marked by ``named_by``."""
        found = getattr(self.value, "family", None)
        return found if isinstance(found, Family) else None

    @property
    def is_reference(self) -> bool:
        """Whether the value is imported only when it is used."""
        return self.offered is self.name or (isinstance(self.offered, str) and self.kind not in VALUES)

    @property
    def label(self) -> str:
        """Name it in a message, with its owner."""
        return label(singular(self.kind), self.name, self.distribution)


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

    @cached_property
    def _set(self) -> PluginSet:
        limit = IMPORT_TIMEOUT_S if self._timeout_s is None else min(self._timeout_s, IMPORT_TIMEOUT_S)
        return installed_set() if self._found is None else PluginSet(self._found, timeout_s=limit)

    @property
    def failed(self) -> Sequence[PluginWarning]:
        """What is not offered of what has been asked for until now, and why."""
        return self._set.failed

    @property
    def remarks(self) -> Sequence[PluginWarning]:
        """What is offered, at a cost to others."""
        return self._set.remarks

    def owners(self) -> Sequence[str]:
        """Return every package that registers plugins, with its entry point."""
        return self._set.owners()

    def clashes(self, kind: Kind) -> Sequence[str]:
        """Say of each name of a kind that several packages offer whose they are; nobody can use it."""
        return [*self._set.clashes(kind)]

    def entries(self, kind: Kind) -> Mapping[str, PluginEntry]:
        """Return what one plugin each offers of one kind, by name."""
        if kind not in self._entries:
            offers = self._set.offers(kind)
            single = {name: offer for name, (offer, *others) in offers.items() if not others}
            self._entries[kind] = {
                name: PluginEntry(kind, name, offer.distribution, offer.value) for name, offer in single.items()
            }
        return self._entries[kind]

    def find(self, kind: Kind, name: str) -> PluginEntry:
        """Look up a plugin by installed name, ``NAME:VALUE``, ``./file.py:name`` or ``package.module:name``.

        Raises:
            PluginError: there is none; the message has the nearest name and what has failed.
        """
        if (named := self._named_by_value(kind, name)) is not None:
            return named
        if ":" in name:
            _import_reference(kind, name)
            return PluginEntry(kind, name, name, name)
        entries = self.entries(kind)
        if name not in entries:
            raise PluginError(f"{kind}: {self.unknown(kind, name)}")
        return entries[name]

    def _named_by_value(self, kind: Kind, name: str) -> PluginEntry | None:
        """Return what ``NAME:VALUE`` stands for where the plugin NAME is marked by ``named_by``."""
        head, colon, value = name.partition(":")
        entry = self.entries(kind).get(head) if colon and value else None
        if entry is None or (family := entry.family) is None:
            return None
        return replace(entry, name=name, params={family.parameter: value})

    def unknown(self, kind: Kind, name: str) -> str:
        """Say that there is no such plugin, or more than one, with the nearest name and the plugins that failed."""
        if owners := [offer.distribution for offer in self._set.offers(kind).get(name, ())]:
            return clash(kind, name, owners)
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
        function = entry.function
        passed = GIVEN[kind] if given is None else given
        beside = tuple(getattr(type(ref), "model_fields", ()))
        if repeated := entry.params.keys() & ref.params.keys():
            raise PluginError(f"{kind}: {ref.name!r} sets {repeated.pop()!r} by its name: leave it out of its params.")
        given_params = {**ref.params, **entry.params}
        params = check_params(function, given_params, given=passed, where=f"{kind}: {ref.name!r}", beside=beside)
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
        meant = {"meant": field_validator("*", mode="before")(_refuse_lookalikes)}
        model = create_model("Parameters", __config__=settings, __validators__=meant, **fields)
        checked = model.model_validate(dict(params))
    except ValidationError as error:
        raise PluginError("\n".join(_explain(item, where, fields, given, beside) for item in error.errors())) from None
    return {name: getattr(checked, name) for name in params}


def _refuse_lookalikes(cls: type[BaseModel], given: object, info: ValidationInfo) -> object:
    """Refuse a parameter's value that would be read as one of another type."""
    refuse_lookalikes(cls.model_fields[info.field_name or ""].annotation, given)
    return given


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
    if error["type"] == "value_error":
        return f"{where}: parameter {name!r}: {error['ctx']['error']}."
    return f"{where}: parameter {name!r}: {error['msg'][:1].lower()}{error['msg'][1:]}, got {error['input']!r}."


def _import_reference(kind: Kind, reference: str) -> Any:
    """Import ``./file.py:name`` or ``package.module:name``. Any: whatever it refers to."""
    place, _, name = reference.rpartition(":")
    if not place:
        raise PluginError(f"{kind}: {reference!r} is no reference; write ./file.py:name or package.module:name.")
    is_file = place.endswith(".py")
    if is_file and not Path(place).is_file():
        raise PluginError(f"{kind}: {reference!r}: there is no file {Path(place).resolve()}.")
    with guarded_import(singular(kind), reference, timeout_s=TIMEOUT_S):
        module = _import_file(Path(place)) if is_file else importlib.import_module(place)
        if hasattr(module, name):  # a module may have a __getattr__ of its own
            return getattr(module, name)
    public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    raise PluginError(f"{kind}: {place} has no {name!r}.{and_known(name, public)}")


def _import_file(path: Path) -> ModuleType:
    """Import a Python file by its path, once for each content: a notebook may change a reward between two runs."""
    place = str(path.resolve())
    name, source = f"reasonrl_local_{path.resolve().stem}", path.read_bytes()
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == place and getattr(loaded, _SOURCE, None) == source:
        return loaded
    loader = SourceFileLoader(name, place)
    spec = importlib.util.spec_from_file_location(name, place, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    setattr(module, _SOURCE, source)
    sys.modules[name] = module
    try:
        # Not by the loader: it takes compiled code of the same size and second for that of the same text.
        exec(loader.source_to_code(source, place), vars(module))
    except BaseException:  # half a module must not pass for a whole one when it is asked for again
        del sys.modules[name]
        raise
    return module
