"""Start, resume and fork runs."""

import gc
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from reasonrl.config.runfile import load_run, override_run
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ConfigError, RunError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.alarms import AlarmMonitor
from reasonrl.run.events import Observer
from reasonrl.run.files.checkpoint import verify
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.guard import RunGuard
from reasonrl.run.inputs import RunInputs, load_inputs
from reasonrl.run.observers import Observers
from reasonrl.run.recorder import RunRecorder

if TYPE_CHECKING:
    from reasonrl.run.build import RunComponents
    from reasonrl.run.session import Status

RECORDED = ("reasonrl", "torch", "transformers", "peft", "datasets", "pydantic", "pluggy")
"""Packages whose versions a manifest holds."""

OpenDirectory: TypeAlias = "Callable[[RunComponents], RunDirectory]"
"""Opens the run's directory for writing, once everything is loaded: a mistake leaves nothing behind."""


def start_run(path: Path, overrides: Sequence[str], observers: Sequence[Observer], *, argv: Sequence[str]) -> "Status":
    """Train a new run from a run file."""
    config = load_run(path, overrides)
    return _start(config, path.read_text(encoding="utf-8"), observers, argv=argv, parent=None)


def fork_run(origin: str, overrides: Sequence[str], observers: Sequence[Observer], *, argv: Sequence[str]) -> "Status":
    """Train a new run from another run's checkpoint, ``DIR@STEP``.

    Raises:
        ConfigError: the new run has the old one's name.
        RunError: there is no such checkpoint.
    """
    parent = RunDirectory.open(Path(origin.rpartition("@")[0] or origin))
    step, checkpoint = parent.checkpoint_at(origin.rpartition("@")[2] if "@" in origin else "")
    config = override_run(parent.config, [*overrides, f"model.name={checkpoint}"])
    if config.name == parent.config.name:
        raise ConfigError("a fork needs a name of its own: add name=NEW to the command.")
    source = (parent.path / "config.input.yaml").read_text(encoding="utf-8")
    return _start(config, source, observers, argv=argv, parent={"run": str(parent.path), "step": step})


def _start(
    config: RunConfig,
    source: str,
    observers: Sequence[Observer],
    *,
    argv: Sequence[str],
    parent: Mapping[str, str | int] | None,
) -> "Status":
    """Check everything that needs no model, then train."""
    RunDirectory.refuse_existing(config)
    plugins = Plugins(timeout_s=config.plugins.timeout_s)
    inputs = load_inputs(config, plugins)

    def create(components: "RunComponents") -> RunDirectory:
        environment = _environment() | {"device": str(components.device), **components.rewards.notes}
        return RunDirectory.create(
            config, source, environment=environment, argv=argv, parent=parent, data=_data(config, inputs)
        )

    return _train_to_end(config, inputs, plugins, observers, create)


def resume_run(path: Path, overrides: Sequence[str], observers: Sequence[Observer]) -> "Status":
    """Continue a run from its latest checkpoint.

    Raises:
        ConfigError: settings were given; a resumed run keeps its own.
        RunError: the run is finished, or is not a run.
    """
    if overrides:
        raise ConfigError(
            f"a resumed run keeps its settings, so {overrides[0]!r} cannot apply. To change settings, fork it: "
            f"reasonrl train --fork {path}@STEP name=NEW {overrides[0]}"
        )
    found = RunDirectory.open(path)
    if found.manifest.status == "finished":
        raise RunError(f"{path} is finished; there is nothing to resume. Compare: reasonrl compare {path}")
    plugins, latest = Plugins(timeout_s=found.config.plugins.timeout_s), found.latest_checkpoint()

    def reopen(_: "RunComponents") -> RunDirectory:
        directory = RunDirectory.resume(path)
        directory.rewind(latest[0] if latest else None)
        return directory

    return _train_to_end(found.config, load_inputs(found.config, plugins), plugins, observers, reopen, found)


def _train_to_end(
    config: RunConfig,
    inputs: RunInputs,
    plugins: Plugins,
    observers: Sequence[Observer],
    open_directory: OpenDirectory,
    directory: RunDirectory | None = None,
) -> "Status":
    """Train from the start, or from a directory's latest checkpoint; again from an earlier one after a roll-back."""
    from reasonrl.run.build import build_components
    from reasonrl.run.session import Session

    plugin_observers = [(ref.name, plugins.function("observers", ref)) for ref in config.observers]
    while True:
        step, checkpoint = (directory.latest_checkpoint() if directory else None) or (0, None)
        position = verify(checkpoint).position if checkpoint else 0
        rate_factor = config.alarms.rollback_rate_factor ** (directory.manifest.rollbacks if directory else 0)
        components = build_components(config, inputs, plugins, checkpoint=checkpoint, rate_factor=rate_factor)
        with closing(components):
            directory = open_directory(components)
            told = _observers(config, directory, observers, plugin_observers)
            with RunGuard(directory.path):
                status = Session(config, inputs, components, directory, told).run(step, position)
        if status != "rolled_back":
            return status
        open_directory = _kept_open(directory)
        del components
        gc.collect()  # models hold themselves in cycles, and the next one needs their memory


def _kept_open(directory: RunDirectory) -> OpenDirectory:
    return lambda _: directory


def _observers(
    config: RunConfig,
    directory: RunDirectory,
    observers: Sequence[Observer],
    plugin_observers: Sequence[tuple[str, Observer]],
) -> Observers:
    """Return everybody who is told what happens: the directory before the terminal, and the alarms last."""
    told = Observers([RunRecorder(directory, config), *observers], plugin_observers)
    every = config.run.rollouts_every
    alarms = AlarmMonitor(config.alarms, told.notify, rollouts_every=every)
    told.add(alarms.replay(directory.read_metrics()))
    return told


def _environment() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in RECORDED},
    }


def _data(config: RunConfig, inputs: RunInputs) -> dict[str, object]:
    """Return what data.json records: sources, sizes, and what was found of overlap."""
    return {
        "train": {"task": config.task.model_dump(), "num_problems": len(inputs.problems)},
        "heldout": {
            suite.name: {
                "num_problems": len(suite.problems),
                "version": suite.version,
                "overlap": inputs.overlaps[suite.name].summary,
            }
            for suite in inputs.suites
        },
        "allow_overlap": config.evaluation.allow_overlap,
        "warnings": list(inputs.warnings),
    }
