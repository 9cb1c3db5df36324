"""The rewards and metrics of a run, each given to what runs it: worker processes, an event loop, or this process."""

import importlib
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any, Self, TypeAlias

from reasonrl.config.settings import ScoringSettings
from reasonrl.errors import PluginError, ReasonRLError
from reasonrl.plugins.failures import explain, innermost
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import SharedResource
from reasonrl.scoring import adapters
from reasonrl.scoring.async_runner import AsyncRunner
from reasonrl.scoring.runner import CallResult, FunctionCall, FunctionRunner, Functions, InProcessRunner
from reasonrl.scoring.service import ServiceLimits
from reasonrl.scoring.workers.pool import WorkerPoolRunner
from reasonrl.system.cores import usable_cores

Loader: TypeAlias = Callable[[Plugins], Callable[..., Any]]
"""Returns a function in another process; it can be pickled. Any: the function is anybody's code."""

BoundOpening: TypeAlias = Callable[[str], AbstractContextManager[SharedResource]]
"""Opens what a function keeps open for as long as it may be called, with the function's own parameters; given the
device of the model that learns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginFunction:
    """A reward or a metric, as what runs it has to know it."""

    name: str
    """What calls go by, and errors say: ``reward 'length'``."""
    function: Callable[..., Any]
    """Called with its arguments by name. Any: anybody's code."""
    loader: Callable[[], Loader]
    """Returns what a worker process gets the function from; called for those that run there, and may refuse."""
    isolated: bool = True
    """Whether an ordinary function runs in a worker process; an async one never does."""
    opening: BoundOpening | None = None
    """Opens what it keeps open, if anything."""
    concurrency: int | None = None
    """Calls of an async function at once; None is as many as what it keeps open serves, or the default."""
    per_minute: int | None = None
    """Requests of an async function a minute."""
    retries: int = 3
    """Further tries of an async function."""

    @property
    def is_async(self) -> bool:
        """Whether it is to be awaited."""
        return adapters.is_async(self.function)


class FunctionRunners:
    """Runs functions: ordinary ones in worker processes, async ones on an event loop, the rest in this process.

    Args:
        functions: what may be called, each by a name of its own.
        settings: number and memory of the worker processes.
        device: of the model that learns; ``auto`` where none does.

    Raises:
        PluginError: the workers could not load a function, or one could not open what it needs.
        ReasonRLError: whatever else a function says when it opens what it needs.
    """

    def __init__(self, functions: Sequence[PluginFunction], settings: ScoringSettings, *, device: str = "auto") -> None:
        self._open, self._device = ExitStack(), device
        self._runners: dict[str, FunctionRunner] = {}
        with self._open:
            self.opened = {function.name: self._enter(function) for function in functions}
            """What each function keeps open, by its name."""
            self._start(lambda mine: _worker_pool(mine, settings), [f for f in functions if _is_for_workers(f)])
            self._start(lambda mine: _event_loop(mine, self.opened), [f for f in functions if f.is_async])
            self._start(_in_process, [f for f in functions if not f.is_async and not f.isolated])
            self._open = self._open.pop_all()

    def _enter(self, function: PluginFunction) -> SharedResource:
        """Open what a function keeps open, if anything, until this is closed."""
        if function.opening is None:
            return SharedResource()
        try:
            return self._open.enter_context(function.opening(self._device))
        except ReasonRLError:
            raise
        except Exception as error:  # anybody's code: whatever it raises is the cause
            why = explain(error, function.function)
            raise PluginError(f"{function.name} could not open what it needs: {why}") from error

    def _start(
        self, start: Callable[[Sequence[PluginFunction]], FunctionRunner], functions: Sequence[PluginFunction]
    ) -> None:
        if functions:
            runner = start(functions)
            self._open.callback(runner.close)
            self._runners |= {function.name: runner for function in functions}

    def submit(self, name: str, arguments: Mapping[str, Any], timeout_s: float) -> "Future[CallResult]":
        """Begin a call, from any thread; one in this process has ended when this returns. The future never raises.

        Args:
            name: of the function.
            arguments: what it is given, by name. Any: texts, problems, rollouts; all of it can be pickled.
            timeout_s: longest time that the call may run.
        """
        return self._runners[name].submit(FunctionCall(function=name, arguments=arguments, timeout_s=timeout_s))

    def close(self) -> None:
        """Leave nothing running. Closing twice is closing once."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_for_workers(function: PluginFunction) -> bool:
    return function.isolated and not function.is_async


def _worker_pool(functions: Sequence[PluginFunction], settings: ScoringSettings) -> FunctionRunner:
    load = partial(_load_functions, {function.name: function.loader() for function in functions})
    return WorkerPoolRunner(load, settings.workers or num_workers(), settings.memory_mib)


def _event_loop(functions: Sequence[PluginFunction], opened: Mapping[str, SharedResource]) -> FunctionRunner:
    limits = {function.name: _limits(function, opened[function.name]) for function in functions}
    return AsyncRunner({function.name: function.function for function in functions}, limits)


def _in_process(functions: Sequence[PluginFunction]) -> FunctionRunner:
    return InProcessRunner({function.name: function.function for function in functions})


def _limits(function: PluginFunction, opened: SharedResource) -> ServiceLimits:
    return ServiceLimits(
        concurrency=function.concurrency or opened.slots or ServiceLimits().concurrency,
        per_minute=function.per_minute,
        retries=function.retries,
    )


def num_workers() -> int:
    """Return the cores that this process may use but one, and at least one."""
    return max(1, usable_cores() - 1)


def opening_of(function: Callable[..., Any]) -> BoundOpening | None:
    """Return what opens what a function keeps open, with the function's own parameters. Any: anybody's signature."""
    inner, bound = (function.func, function.keywords) if isinstance(function, partial) else (function, {})
    opening = getattr(inner, "opening", None)
    if opening is None:
        return None
    settings = {name: parameter.default for name, parameter in adapters.parameters(inner).items()} | bound
    named = adapters.parameters(opening)

    def opened(device: str) -> AbstractContextManager[SharedResource]:
        known = {"learner_device": device} | settings
        context: AbstractContextManager[SharedResource] = opening(**{name: known[name] for name in named})
        return context

    return opened


def is_marked_in_process(function: Callable[..., Any]) -> bool:
    """Say whether a function asks to be called in the run's own process. Any: anybody's signature."""
    return bool(getattr(function.func if isinstance(function, partial) else function, "in_process", False))


# The way of a function to a worker process.


@dataclass(frozen=True, slots=True)
class PickledFunction:
    """A function on its way to another process."""

    data: bytes
    files: Mapping[str, str]
    """Modules that it needs and that no import finds, such as a user's ``./file.py``, with their files."""

    def load(self) -> Callable[..., Any]:
        """Return the function. Any: anybody's code."""
        for name, file in self.files.items():
            if name not in sys.modules:
                _import_file(name, file)
        function: Callable[..., Any] = pickle.loads(self.data)
        return function


def pickle_function(function: Callable[..., Any], what: str, remedy: str) -> PickledFunction:
    """Return a function as another process can load it. Any: anybody's code.

    Args:
        function: of a module, or with parameters bound to such a function.
        what: begins an error message.
        remedy: ends it.

    Raises:
        PluginError: the function exists in this process only.
    """
    try:
        data = pickle.dumps(function)
        if b"__main__" in data:
            raise pickle.PicklingError("it is defined in the main program")
    except Exception as error:  # whatever is bound to it
        raise PluginError(f"{what} cannot be sent to a worker process: {error}. {remedy}") from error
    return PickledFunction(data, _unfindable_modules(data))


def _unfindable_modules(data: bytes) -> dict[str, str]:
    """Return the modules, with their files, that something pickled names and another process would not find."""
    named = {name: module for name, module in list(sys.modules.items()) if name.encode() in data and "." not in name}
    files = {name: file for name, module in named.items() if (file := getattr(module, "__file__", None))}
    return {name: file for name, file in files.items() if not any(f.find_spec(name, None) for f in sys.meta_path)}


def _import_file(name: str, file: str) -> None:
    spec = spec_from_file_location(name, file)
    assert spec is not None, "it was imported in the process that it comes from"
    assert spec.loader is not None, "as above"
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)


def _load_functions(loaders: Mapping[str, Loader]) -> Functions:
    """Return functions by name, in another process, with what their modules import late.

    Raises:
        PluginError: one of them cannot be found or used.
    """
    plugins = Plugins()
    functions = {name: load(plugins) for name, load in loaders.items()}
    for function in functions.values():
        _import_late_modules(innermost(function))
    return functions


def _import_late_modules(function: Callable[..., Any]) -> None:
    """Import what a module names in ``WORKER_IMPORTS``, once for all workers instead of within a deadline.

    Any: anybody's code.
    """
    module = sys.modules.get(getattr(function, "__module__", ""))
    for name in getattr(module, "WORKER_IMPORTS", ()):
        importlib.import_module(name)
