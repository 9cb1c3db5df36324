"""Start, resume and fork runs of any kind."""

import gc
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from reasonrl.config.finetune import FinetuneConfig
from reasonrl.config.kinds import KINDS, AnyConfig, KindName, kind_of
from reasonrl.config.runfile import load_settings
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ConfigError, RunError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.attempt import Status
from reasonrl.run.changes import began_with, changed_config, different, require_unchanged, schedule_note
from reasonrl.run.check import check_model
from reasonrl.run.control import Control, with_control
from reasonrl.run.distillation import resolve_teacher
from reasonrl.run.events import Message, Observer
from reasonrl.run.files.checkpoint import verify
from reasonrl.run.files.directory import RunDirectory, require_kind
from reasonrl.run.files.manifest import Change, now
from reasonrl.run.files.rollouts import TokenEndsOf
from reasonrl.run.finetune.prepared import FinetuneRun
from reasonrl.run.fork import Fork, FreshOrContinue, fork
from reasonrl.run.guard import RunGuard
from reasonrl.run.lineage import parent_of, resolve_model, template_file
from reasonrl.run.observers import Observers
from reasonrl.run.policy import PolicyRun
from reasonrl.run.prepared import LoadedRun, PreparedRun
from reasonrl.run.preregistration import require_intact
from reasonrl.run.recorded import flat_settings
from reasonrl.run.recorder import RunRecorder
from reasonrl.run.report.writer import ReportWriter
from reasonrl.run.reward_model.prepared import RewardModelRun
from reasonrl.run.trackers.observer import Trackers

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
    overwrite: bool = False,
    control: Control | None = None,
) -> Status:
    """Train a new run from a run file; ``overwrite`` replaces a run of its name.

    Raises:
        ConfigError: the settings are wrong, or the run can have no such control.
    """
    config = load_settings(path, overrides, KINDS[kind].settings)
    source = path.read_text(encoding="utf-8")
    return start_config(config, source, observers, argv=argv, overwrite=overwrite, control=control)


def start_config(
    config: AnyConfig,
    source: str,
    observers: Sequence[Observer],
    *,
    argv: Sequence[str],
    overwrite: bool = False,
    control: Control | None = None,
) -> Status:
    """Train a new run of settings that are read already; ``source`` is what its directory keeps as they were given.

    Raises:
        ConfigError: the run can have no such control.
    """
    if control is not None:
        if not isinstance(config, RunConfig):
            trains = kind_of(config).trains
            raise ConfigError(f"{config.name} trains {trains}, and the control {control!r} is one of rewards.")
        config = with_control(config, control, Plugins(timeout_s=config.plugins.timeout_s))
    return _start(config, source, observers, argv=argv, origin=None, overwrite=overwrite, control=control)


def fork_run(
    origin: str,
    overrides: Sequence[str],
    observers: Sequence[Observer],
    *,
    argv: Sequence[str],
    kind: KindName = "policy",
    order: FreshOrContinue = "fresh",
    overwrite: bool = False,
) -> Status:
    """Train a new run from another run's checkpoint, ``DIR@STEP``.

    Raises:
        ConfigError: the new run has the old one's name, the old one is of another kind, or its order cannot go on.
        RunError: there is no such checkpoint.
    """
    parent = RunDirectory.open(Path(origin.rpartition("@")[0] or origin))
    require_kind(parent, kind, f"--fork {origin}")
    new = fork(parent, origin.rpartition("@")[2] if "@" in origin else "", overrides, order)
    source = (parent.path / "config.input.yaml").read_text(encoding="utf-8")
    _tell(observers, new.note)
    control = parent.manifest.control
    return _start(new.config, source, observers, argv=argv, origin=new, overwrite=overwrite, control=control)


def _start(
    config: AnyConfig,
    source: str,
    observers: Sequence[Observer],
    *,
    argv: Sequence[str],
    origin: Fork | None,
    overwrite: bool,
    control: str | None,
) -> Status:
    """Check everything that needs no model, then train.

    Args:
        config: the run.
        source: its run file.
        observers: are told of all that happens.
        argv: the command.
        origin: what it is forked from.
        overwrite: replace a run of its name.
        control: what it is a control by.
    """
    plugins = Plugins(timeout_s=config.plugins.timeout_s)
    config = resolve_teacher(resolve_model(config, plugins), plugins)
    RunDirectory.refuse_existing(config, overwrite=overwrite)
    check_model(config)
    run = _prepared(config, plugins, observers, origin.parent if origin else None)

    def create(loaded: LoadedRun) -> RunDirectory:
        environment = {**_environment(), **loaded.environment()}
        return RunDirectory.create(
            config,
            source,
            environment=environment,
            argv=argv,
            parent=origin.record if origin else parent_of(config, plugins),
            data=run.data(),
            files={**run.files(), **template_file(config, plugins)},
            settings=run.settings(),
            control=control,
            overwrite=overwrite,
        )

    return _train_to_end(config, run, plugins, observers, create, start=origin.position if origin else 0)


def resume_run(
    path: Path, overrides: Sequence[str], observers: Sequence[Observer], *, kind: KindName = "policy"
) -> Status:
    """Continue a run from its latest checkpoint, with another length, other limits or frequencies where they are given.

    Raises:
        ConfigError: a setting was given that cannot change in a run that goes on; or the run is of another kind.
        RunError: the run is finished, is not a run, or would not go on as the run that it was.
    """
    found = RunDirectory.open(path)
    require_kind(found, kind, f"--resume {path}")
    config = changed_config(found, overrides)
    changed = different(began_with(found), flat_settings(config))
    has_other_length = not changed.keys().isdisjoint(("run.steps", "run.epochs"))
    if found.manifest.status == "finished" and not has_other_length:
        raise RunError(f"{path} is finished; there is nothing to resume. {_look_at(found)}")
    plugins, latest = Plugins(timeout_s=config.plugins.timeout_s), found.latest_checkpoint()
    run, done = _prepared(config, plugins, observers, found), latest[0] if latest else 0
    require_unchanged(found, run.settings(), overrides)
    require_intact(found)
    _require_later_end(config.run.steps, done, found)

    def reopen(loaded: LoadedRun) -> RunDirectory:
        _require_later_end(loaded.num_steps, done, found)
        directory = RunDirectory.resume(path)
        if changed:
            directory.reconfigure(config, run.settings(), Change(step=done, wall=now(), settings=changed))
        directory.rewind(latest[0] if latest else None)
        for line in _change_lines(config, changed, done, loaded.num_steps if has_other_length else None):
            directory.append_event("changed", line, done)
            _tell(observers, line)
        return directory

    start = int((found.manifest.parent or {}).get("position", 0))
    return _train_to_end(config, run, plugins, observers, reopen, found, start=start)


def _require_later_end(num_steps: int | None, done: int, directory: RunDirectory) -> None:
    """Refuse a length that a run has passed already."""
    is_finished = directory.manifest.status == "finished"
    if num_steps is not None and (num_steps < done or (is_finished and num_steps == done)):
        raise ConfigError(
            f"the run would have {num_steps} steps, but {directory.path} has done {done} already: give more, such as "
            f"run.steps={2 * done}"
        )


def _change_lines(
    config: AnyConfig, changed: Mapping[str, tuple[Any, Any]], done: int, num_steps: int | None
) -> Iterator[str]:
    """Say what is changed in a run that goes on, and what becomes of its learning rate. Any: values of settings."""
    for key, (then, now_) in changed.items():
        yield f"after step {done}: {key} is {now_}, was {then}"
    if num_steps is not None:
        yield schedule_note(config, done, num_steps)


def _tell(observers: Sequence[Observer], text: str) -> None:
    for observer in observers:
        observer(Message(text=text))


def _look_at(directory: RunDirectory) -> str:
    """Say what can be done with a finished run."""
    done = max(directory.checkpoints(), default=1)
    longer = f"Train it longer: {directory.resume_command} run.steps={2 * done}"
    if directory.kind.name != "reward_model":
        return f"Compare: reasonrl compare {directory.path}. {longer}"
    return f"Judge its model: reasonrl rm eval {directory.path} --pairs FILE. {longer}"


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
        _tell(observers, text)

    if isinstance(config, RunConfig):
        return PolicyRun.prepare(config, plugins)
    if isinstance(config, FinetuneConfig):
        return FinetuneRun.prepare(config, plugins, earlier)
    return RewardModelRun.prepare(config, plugins, say, earlier)


def _train_to_end(
    config: AnyConfig,
    run: PreparedRun,
    plugins: Plugins,
    observers: Sequence[Observer],
    open_directory: OpenDirectory,
    directory: RunDirectory | None = None,
    *,
    start: int,
) -> Status:
    """Train from the start, or from a directory's latest checkpoint; again from an earlier one after a roll-back.

    A run that begins anew passes over the first ``start`` problems of its stream.
    """
    plugin_observers = [(ref.name, plugins.function("observers", ref)) for ref in config.observers]
    while True:
        step, checkpoint = (directory.latest_checkpoint() if directory else None) or (0, None)
        position = verify(checkpoint, directory.kind.command).position if directory and checkpoint else start
        rate_factor = config.alarms.rollback_rate_factor ** (directory.manifest.rollbacks if directory else 0)
        loaded = run.load(checkpoint, rate_factor, directory.manifest.compute if directory else None)
        with closing(loaded):
            directory = open_directory(loaded)
            directory.record_compute(loaded.compute())
            told = _observers(run, directory, loaded.token_ends, observers, plugin_observers)
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
    token_ends: TokenEndsOf | None,
    observers: Sequence[Observer],
    plugin_observers: Sequence[tuple[str, Observer]],
) -> Observers:
    """Return everybody who is told what happens: the directory and the report before the terminal, the alarms last."""
    recorder = RunRecorder(directory, directory.config, token_ends)
    report = ReportWriter(directory, lambda text: _tell(observers, text))
    told = Observers([recorder, report, *observers], plugin_observers)
    if directory.config.run.trackers:
        told.add(Trackers(directory, told.notify))
    told.add(run.alarms(told.notify, directory).replay(directory.read_metrics()))
    return told


def _environment() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in RECORDED if find_spec(name) is not None},
    }
