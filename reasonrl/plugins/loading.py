"""Load what is installed: whatever one package's code does costs its own offers and is told, and nobody else's."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import getattr_static, isroutine, signature
from threading import RLock
from time import monotonic
from typing import Any, Final, Literal, TypeAlias

import pluggy
from pluggy import HookimplOpts

from reasonrl.errors import PluginError, ReasonRLError, did_you_mean
from reasonrl.plugins import hookspecs
from reasonrl.plugins.boundary import guarded_import, label
from reasonrl.plugins.checks import require_offers

GROUP: Final = "reasonrl"
"""The entry-point group that plugins register under."""
IMPORT_TIMEOUT_S: Final = 30.0
"""Longest time in seconds of a package's import, and of each of its hooks."""
SLOW_S: Final = 2.0
"""Seconds of an import from which on it is told."""
HEAVY: Final = ("torch", "transformers", "vllm")
"""Modules that no command but those that need a model should wait for."""
PREFIX: Final = "reasonrl_"
"""Begins the name of every hook."""
HOOKS: Final = tuple(name for name in vars(hookspecs) if name.startswith(PREFIX))

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
    "trackers",
]


@dataclass(frozen=True, slots=True)
class Offer:
    """A value that a package offers under a name."""

    name: str
    distribution: str
    value: Any
    """What the hook returned. Any: by kind."""


@dataclass(frozen=True, slots=True)
class PluginWarning:
    """What is wrong with a plugin."""

    distribution: str
    cause: str


class PluginSet:
    """The plugins of some entry points, imported when first asked for, by whichever thread.

    Args:
        found: the entry points.
        timeout_s: longest time in seconds of each import and each hook; None is no limit.
    """

    def __init__(self, found: Sequence[EntryPoint], *, timeout_s: float | None = IMPORT_TIMEOUT_S) -> None:
        self.failed: list[PluginWarning] = []
        """What is not offered, and why."""
        self.remarks: list[PluginWarning] = []
        """What works, at a cost to others."""
        self._found = sorted(found, key=lambda entry: entry.name)
        self._timeout_s = timeout_s
        self._manager: _Manager | None = None
        self._offers: dict[Kind, Mapping[str, Sequence[Offer]]] = {}
        self._lock = RLock()  # a plugin may ask for others while it is imported

    def owners(self) -> list[str]:
        """Return every package that registers, with its entry point."""
        return [owner_of(entry) for entry in self._found]

    def offers(self, kind: Kind) -> Mapping[str, Sequence[Offer]]:
        """Return all that is offered of one kind, by name; several packages may offer one name."""
        with self._lock:
            if kind not in self._offers:
                offers: dict[str, list[Offer]] = defaultdict(list)
                for hook in getattr(self._loaded().hook, f"{PREFIX}{kind}").get_hookimpls():
                    for offer in self._call(hook):
                        offers[offer.name].append(offer)
                self._offers[kind] = dict(sorted(offers.items()))
            return self._offers[kind]

    def clashes(self, kind: Kind) -> Iterator[str]:
        """Say of each name of a kind that several packages offer whose they are."""
        for name, offers in self.offers(kind).items():
            if len(offers) > 1:
                yield clash(kind, name, [offer.distribution for offer in offers])

    def _loaded(self) -> "_Manager":
        if self._manager is None:
            self._manager = _Manager(self.failed)
            for entry in self._found:
                self._load(self._manager, entry)
        return self._manager

    def _load(self, manager: "_Manager", entry: EntryPoint) -> None:
        owner, began = owner_of(entry), monotonic()
        light = [name for name in HEAVY if name not in sys.modules]
        with self._noting(owner):
            plugin = entry.load()
            if (other := manager.get_name(plugin)) is not None:
                return self.remarks.append(PluginWarning(owner, f"is the same module as {other}"))
            num_failed = len(self.failed)
            manager.register(plugin, name=owner)
            if not manager.get_hookcallers(plugin) and len(self.failed) == num_failed:
                raise PluginError("offers nothing: no function of it is marked with @reasonrl.hookimpl")
        self._note_cost(owner, monotonic() - began, [name for name in light if name in sys.modules])
        if twins := [owner_of(other) for other in self._found if other.name == entry.name and other is not entry]:
            self.remarks.append(PluginWarning(owner, f"shares the name of its entry point with {' and '.join(twins)}"))
        return None

    def _note_cost(self, owner: str, seconds: float, heavy: Sequence[str]) -> None:
        if heavy or seconds > SLOW_S:
            what = f"imports {' and '.join(heavy)}" if heavy else "is slow to import"
            cost = f"{seconds:.1f} s of every command that looks for plugins"
            self.remarks.append(PluginWarning(owner, f"{what} ({cost}): import what is heavy inside its functions"))

    def _call(self, hook: pluggy.HookImpl) -> Sequence[Offer]:
        owner, found = hook.plugin_name, {}
        with self._noting(owner, hook.function):
            found = dict(require_offers(hook.function()))
        return [Offer(name, owner, value) for name, value in found.items()]

    @contextmanager
    def _noting(self, owner: str, function: Callable[..., Any] | None = None) -> Iterator[None]:
        """Note a failure of the body, which is a package's code. Any: anybody's function."""
        try:
            with guarded_import("plugin", owner, function, timeout_s=self._timeout_s):
                yield
        except ReasonRLError as error:
            cause = str(error).removeprefix(f"{label('plugin', owner)}: ")
            if (failed := PluginWarning(owner, cause)) not in self.failed:
                self.failed.append(failed)


class _Manager(pluggy.PluginManager):
    """Takes a package's hooks one by one: one that cannot be called is noted, and hides no other of the package."""

    def __init__(self, failed: list[PluginWarning]) -> None:
        super().__init__(GROUP)
        self.add_hookspecs(hookspecs)
        self._failed = failed
        self._owner = ""

    def register(self, plugin: object, name: str | None = None) -> str | None:
        self._owner = name or ""
        return super().register(plugin, name)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> HookimplOpts | None:
        options = super().parse_hookimpl_opts(plugin, name)
        if cause := _unmarked(plugin, name) if options is None else _misfit(plugin, name, options):
            self._failed.append(PluginWarning(self._owner, cause))
            return None
        return options


def _unmarked(plugin: object, name: str) -> str:
    """Say what is wrong with a function that has a hook's prefix and is none."""
    if not name.startswith(PREFIX) or not isroutine(getattr_static(plugin, name, None)):
        return ""
    return f"{name!r} is not marked with @reasonrl.hookimpl, so it offers nothing"


def _misfit(plugin: object, name: str, options: HookimplOpts) -> str:
    """Say why a hook would never be called, or cannot be."""
    hook = options.get("specname") or name
    if hook not in HOOKS:
        meant = did_you_mean(PREFIX + hook.removeprefix(PREFIX), HOOKS)
        return "" if options.get("optionalhook") else f"no hook {hook!r}.{meant} Known: {', '.join(HOOKS)}."
    parameters = signature(getattr(plugin, name)).parameters.values()
    needed = [each.name for each in parameters if each.default is each.empty and each.kind not in (2, 4)]
    return f"hook {name!r} asks for {', '.join(needed)}; a hook takes no arguments" if needed else ""


def clash(kind: Kind, name: str, owners: Sequence[str]) -> str:
    """Say that several packages offer one name, and what to do."""
    return f"{name!r} is offered by {' and by '.join(owners)}. Uninstall one of them, or rename what it offers."


def owner_of(entry: EntryPoint) -> str:
    """Name an entry point with the distribution that it comes from."""
    name = entry.dist.metadata["Name"] if entry.dist is not None else None
    return f"{entry.name} ({name or entry.value})"


def installed_set() -> PluginSet:
    """Return what is installed now; for the same packages in the same places always the same object."""
    found = tuple(entry_points(group=GROUP))
    return _shared(found, tuple(str(entry.dist.locate_file("")) for entry in found if entry.dist is not None))


@cache
def _shared(found: tuple[EntryPoint, ...], places: tuple[str, ...]) -> PluginSet:
    return PluginSet(found)
