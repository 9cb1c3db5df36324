"""Find plugins: installed ones by entry point, local ones by file or module; name every clash."""

import importlib
import importlib.util
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias, get_type_hints

import pluggy
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from reasonrl import hookspecs
from reasonrl.config import PluginRef
from reasonrl.errors import PluginError, and_known, did_you_mean
from reasonrl.hookspecs import GIVEN

GROUP = "reasonrl"
"""The entry-point group that plugins register under."""

Kind: TypeAlias = Literal["rewards", "tasks", "suites", "configs", "advantages", "losses"]


@dataclass(frozen=True, slots=True)
class Offer:
    """Something a plugin offers under a name."""

    name: str
    owner: str
    """The entry point, and the distribution it comes from."""
    value: Any
    """A function, or a path for a recipe. Any: each kind has its own type."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A plugin that could not be used, with its cause."""

    owner: str
    cause: str


class Plugins:
    """The plugins of this environment, loaded when first asked for.

    Args:
        found: entry points to use instead of the installed ones.
    """

    def __init__(self, found: Sequence[EntryPoint] | None = None) -> None:
        """Remember where to look; nothing is imported yet."""
        self._found = found
        self.broken: list[Broken] = []

    @cached_property
    def _manager(self) -> pluggy.PluginManager:
        """Import every plugin, one by one; one that fails is noted and hides no other."""
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(hookspecs)
        found = list(entry_points(group=GROUP)) if self._found is None else list(self._found)
        _refuse_shared_names(found)
        for entry in sorted(found, key=lambda entry: entry.name):
            try:
                manager.register(entry.load(), name=_owner(entry))
            except Exception as error:  # a plugin is anybody's code: whatever it raises is its cause
                self.broken.append(Broken(_owner(entry), _cause(error)))
        return manager

    def owners(self) -> list[str]:
        """List the plugins that loaded."""
        return sorted(name for name, _ in self._manager.list_name_plugin())

    def offers(self, kind: Kind) -> dict[str, Offer]:
        """Return what all plugins offer of one kind, by name.

        Raises:
            PluginError: two plugins offer one name.
        """
        offers: dict[str, Offer] = {}
        caller = getattr(self._manager.hook, f"reasonrl_{kind}")
        for implementation in caller.get_hookimpls():
            for offer in self._offers_of(implementation):
                if (other := offers.get(offer.name)) is not None:
                    raise PluginError(
                        f"{kind}: both {other.owner} and {offer.owner} offer {offer.name!r}. "
                        "Uninstall one of them, or rename what it offers."
                    )
                offers[offer.name] = offer
        return dict(sorted(offers.items()))

    def _offers_of(self, implementation: pluggy.HookImpl) -> list[Offer]:
        """Call one plugin's hook; one that fails is noted as broken."""
        owner = implementation.plugin_name
        try:
            offered: Any = implementation.function()
            return [Offer(name, owner, value) for name, value in offered.items()]
        except Exception as error:  # as above: anybody's code
            broken = Broken(owner, _cause(error))
            if broken not in self.broken:
                self.broken.append(broken)
            return []

    def find(self, kind: Kind, name: str) -> Offer:
        """Look up a plugin by installed name, ``./file.py:name`` or ``package.module:name``.

        Raises:
            PluginError: there is none; the message has the nearest name and what is broken.
        """
        if ":" in name:
            return Offer(name, name, _import_reference(kind, name))
        offers = self.offers(kind)
        if name not in offers:
            broken = "".join(f"\nBroken plugin {item.owner}: {item.cause}" for item in self.broken)
            raise PluginError(f"{kind}: no {name!r}.{and_known(name, offers)}{broken}")
        return offers[name]

    def function(self, kind: Kind, ref: PluginRef, given: Sequence[str] | None = None) -> Callable[..., Any]:
        """Return the function a run file names, its parameters checked and bound.

        Args:
            kind: what the function must be.
            ref: name and parameters from the run file, which may not set what the core passes itself.
            given: what the core passes; None is what it passes to functions of this kind.

        Raises:
            PluginError: no such plugin, or its parameters do not fit.
        """
        offer = self.find(kind, ref.name)
        if not callable(offer.value):
            raise PluginError(f"{kind}: {ref.name!r} is a {type(offer.value).__name__}, not a function.")
        passed = GIVEN[kind] if given is None else given
        params = check_params(offer.value, ref.params, given=passed, where=f"{kind}: {ref.name!r}")
        return partial(offer.value, **params) if params else offer.value


def check_params(
    function: Callable[..., Any], params: Mapping[str, Any], *, given: Sequence[str], where: str
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
        raise PluginError("\n".join(_explain(item, where, fields, given) for item in error.errors())) from None
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
        return get_type_hints(function if has_own else type(function).__call__)
    except (NameError, TypeError):
        return {}


def named_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that may be called with more keywords than ``function`` names; the others are left out."""
    named = inspect.signature(function).parameters

    def call(**available: Any) -> Any:
        return function(**{name: value for name, value in available.items() if name in named})

    return call


def _explain(error: Any, where: str, fields: Mapping[str, Any], given: Sequence[str]) -> str:
    """Turn one pydantic error about a parameter into a sentence. Any: pydantic's error dictionary."""
    name = ".".join(str(part) for part in error["loc"])
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
        owners = " and ".join(_owner(entry) for entry in found if entry.name == name)
        raise PluginError(f"entry point {name!r} of group {GROUP!r} is registered by {owners}. Uninstall one of them.")


def _owner(entry: EntryPoint) -> str:
    """Name an entry point with its distribution."""
    distribution = entry.dist.name if entry.dist is not None else entry.value
    return f"{entry.name} ({distribution})"


def _cause(error: Exception) -> str:
    """Say in a line what a plugin raised."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _import_reference(kind: str, reference: str) -> Any:
    """Import ``./file.py:name`` or ``package.module:name``. Any: whatever it refers to."""
    place, _, name = reference.rpartition(":")
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except FileNotFoundError:
        raise PluginError(f"{kind}: {reference!r}: there is no file {Path(place).resolve()}.") from None
    except Exception as error:  # the file is a user's code: whatever it raises is the cause
        raise PluginError(f"{kind}: {reference!r} cannot be imported: {_cause(error)}") from error
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
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def parameters_model(function: Callable[..., Any], given: Sequence[str]) -> type[BaseModel]:
    """Return a model of the parameters, for listing and for JSON schema."""
    return create_model("Parameters", **parameter_fields(function, given))
