"""Start, resume and fork runs of any kind."""

import gc
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from reasonrl.config.kinds import KINDS, AnyConfig, KindName
from reasonrl.config.runfile import load_settings, override_run
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ConfigError, RunError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.attempt import Status
from reasonrl.run.events import Message, Observer
from reasonrl.run.files.checkpoint import verify
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.guard import RunGuard
from reasonrl.run.observers import Observers
from reasonrl.run.policy import PolicyRun
from reasonrl.run.prepared import LoadedRun, PreparedRun
from reasonrl.run.recorder import RunRecorder
from reasonrl.run.reward_model.prepared import RewardModelRun

RECORDED = ("reasonrl", "torch", "transformers", "peft", "datasets", "pydantic", "pluggy")
"""Packages whose versions a manifest holds."""

OpenDirectory: TypeAlias = Callable[[LoadedRun], RunDirectory]
"""Opens the run's directory for writing, once everything is loaded: a mistake leaves nothing behind."""


def start_run(
    path: Path,
    overrides: Sequence[str],
    observers: Sequence[Observer],
    *,
    argv: Sequence[str],
    kind: KindName = "policy",
) -> Status:
    """Train a new run from a run file."""
    config = load_settings(path, overrides, KINDS[kind].settings)
    return _start(config, path.read_text(encoding="utf-8"), observers, argv=argv, origin=None)


def fork_run(
    origin: str,
    overrides: Sequence[str],
    observers: Sequence[Observer],
    *,
    argv: Sequence[str],
    kind: KindName = "policy",
) -> Status:
    """Train a new run from another run's checkpoint, ``DIR@STEP``.

    Raises:
        ConfigError: the new run has the old one's name, or the old one is of another kind.
        RunError: there is no such checkpoint.
    """
    parent = RunDirectory.open(Path(origin.rpartition("@")[0] or origin))
    _require_kind(parent, kind, f"--fork {origin}")
    step, checkpoint = parent.checkpoint_at(origin.rpartition("@")[2] if "@" in origin else "")
    config = override_run(parent.config, [*overrides, f"model.name={checkpoint}"])
    if config.name == parent.config.name:
        raise ConfigError("a fork needs a name of its own: add name=NEW to the command.")
    source = (parent.path / "config.input.yaml").read_text(encoding="utf-8")
    return _start(config, source, observers, argv=argv, origin=(parent, step))


def _start(
    config: AnyConfig,
    source: str,
    observers: Sequence[Observer],
    *,
    argv: Sequence[str],
    origin: tuple[RunDirectory, int] | None,
) -> Status:
    """Check everything that needs no model, then train; ``origin`` is the run and step that it is forked from."""
    RunDirectory.refuse_existing(config)
    plugins = Plugins(timeout_s=config.plugins.timeout_s)
    run = _prepared(config, plugins, observers, origin[0] if origin else None)
    parent: Mapping[str, str | int] | None = {"run": str(origin[0].path), "step": origin[1]} if origin else None

    def create(loaded: LoadedRun) -> RunDirectory:
        environment = {**_environment(), **loaded.environment()}
        return RunDirectory.create(
            config, source, environment=environment, argv=argv, parent=parent, data=run.data(), files=run.files()
        )

    return _train_to_end(config, run, plugins, observers, create)


def resume_run(
    path: Path, overrides: Sequence[str], observers: Sequence[Observer], *, kind: KindName = "policy"
) -> Status:
    """Continue a run from its latest checkpoint.

    Raises:
        ConfigError: settings were given, where a resumed run keeps its own; or the run is of another kind.
        RunError: the run is finished, or is not a run.
    """
    if overrides:
        raise ConfigError(
            f"a resumed run keeps its settings, so {overrides[0]!r} cannot apply. To change settings, fork it: "
            f"{KINDS[kind].command} --fork {path}@STEP name=NEW {overrides[0]}"
        )
    found = RunDirectory.open(path)
    _require_kind(found, kind, f"--resume {path}")
    if found.manifest.status == "finished":
        raise RunError(f"{path} is finished; there is nothing to resume. {_look_at(found)}")
    plugins, latest = Plugins(timeout_s=found.config.plugins.timeout_s), found.latest_checkpoint()

    def reopen(_: LoadedRun) -> RunDirectory:
        directory = RunDirectory.resume(path)
        directory.rewind(latest[0] if latest else None)
        return directory

    run = _prepared(found.config, plugins, observers, found)
    return _train_to_end(found.config, run, plugins, observers, reopen, found)


def _require_kind(directory: RunDirectory, kind: KindName, option: str) -> None:
    """Refuse a run that another command trains."""
    found = directory.kind
    if found.name != kind:
        raise ConfigError(
            f"{directory.path} trains {found.trains}, not {KINDS[kind].trains}: use {found.command} {option}"
        )


def _look_at(directory: RunDirectory) -> str:
    """Say what can be done with a finished run."""
    if directory.kind.name == "policy":
        return f"Compare: reasonrl compare {directory.path}"
    return f"Judge its model: reasonrl rm eval {directory.path} --pairs FILE"


def _prepared(
    config: AnyConfig, plugins: Plugins, observers: Sequence[Observer], earlier: RunDirectory | None
) -> PreparedRun:
    """Check a run of any kind as far as that needs no model.

    Args:
        config: the run.
        plugins: where its parts come from.
        observers: are told of what takes long.
        earlier: the run that it continues or is forked from.
    """

    def say(text: str) -> None:
        for observer in observers:
            observer(Message(text=text))

    if isinstance(config, RunConfig):
        return PolicyRun.prepare(config, plugins)
    return RewardModelRun.prepare(config, plugins, say, earlier)


def _train_to_end(
    config: AnyConfig,
    run: PreparedRun,
    plugins: Plugins,
    observers: Sequence[Observer],
    open_directory: OpenDirectory,
    directory: RunDirectory | None = None,
) -> Status:
    """Train from the start, or from a directory's latest checkpoint; again from an earlier one after a roll-back."""
    plugin_observers = [(ref.name, plugins.function("observers", ref)) for ref in config.observers]
    while True:
        step, checkpoint = (directory.latest_checkpoint() if directory else None) or (0, None)
        position = verify(checkpoint, directory.kind.command).position if directory and checkpoint else 0
        rate_factor = config.alarms.rollback_rate_factor ** (directory.manifest.rollbacks if directory else 0)
        loaded = run.load(checkpoint, rate_factor)
        with closing(loaded):
            directory = open_directory(loaded)
            told = _observers(run, directory, observers, plugin_observers)
            with RunGuard(directory.path, directory.kind.command):
                status = loaded.attempt(directory, told, step, position)
        if status != "rolled_back":
            return status
        open_directory = _kept_open(directory)
        del loaded
        gc.collect()  # models hold themselves in cycles, and the next one needs their memory


def _kept_open(directory: RunDirectory) -> OpenDirectory:
    return lambda _: directory


def _observers(
    run: PreparedRun,
    directory: RunDirectory,
    observers: Sequence[Observer],
    plugin_observers: Sequence[tuple[str, Observer]],
) -> Observers:
    """Return everybody who is told what happens: the directory before the terminal, and the alarms last."""
    told = Observers([RunRecorder(directory, directory.config), *observers], plugin_observers)
    told.add(run.alarms(told.notify, directory).replay(directory.read_metrics()))
    return told


def _environment() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in RECORDED},
    }
