"""Train, resume and fork runs from Python, as the command line does."""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from reasonrl.api.runs import Run, load_run
from reasonrl.api.settings import RunLike, as_overrides, read_run
from reasonrl.config.kinds import AnyConfig, KindName
from reasonrl.config.runfile import override_run
from reasonrl.errors import StoppedError
from reasonrl.run.changes import changed_config
from reasonrl.run.files.directory import RunDirectory, require_kind

if TYPE_CHECKING:
    from reasonrl.run.attempt import Status
    from reasonrl.run.control import Control
    from reasonrl.run.events import Event, Observer
    from reasonrl.run.fork import FreshOrContinue

Show: TypeAlias = Literal["auto", "lines", "json", "nothing"]
"""What is shown while a run trains: a status block on a terminal, one output in a notebook and lines elsewhere; lines
in any case; JSON lines for programs; or nothing."""


def train(
    run: RunLike,
    /,
    *,
    overrides: Sequence[str] = (),
    control: "Control | None" = None,
    overwrite: bool = False,
    show: Show = "auto",
    show_samples: int = 0,
    callbacks: "Sequence[Observer]" = (),
    kind: KindName | None = None,
    command: Sequence[str] = (),
    **settings: Any,
) -> Run:
    """Train a new run, and measure it on its held-out suites before, during and after.

    An interrupt (Ctrl-C, or a notebook's stop button) ends it after the step that is under way, and a second one at
    once; the run that is returned says ``interrupted``, and :func:`resume` goes on with it.

    Args:
        run: a recipe's name, the path of a run file, a ``RunConfig`` or a mapping as a run file would hold it.
        overrides: settings that replace the run's, as on the command line: ``["run.steps=20"]``.
        control: train a control of the run, on chance, on the answer's form alone, or on the opposite.
        overwrite: replace a run of the same name.
        show: what to print meanwhile.
        show_samples: completions to print after each step.
        callbacks: functions that are told every event, see :mod:`reasonrl.run.events`; what one raises ends the run.
        kind: what it must train; what its settings say if not given.
        command: what the manifest records as the command; this call if not given.
        settings: replace the run's settings, a group as a mapping: ``run={"steps": 20}, seed=1``. Any: values as in a
            run file.

    Raises:
        ConfigError: one line for each mistake in the settings.
        RunError: there is a run of that name, or an alarm stopped this one.
        ReasonRLError: whatever else a part of the run cannot do.
    """
    given = [*overrides, *as_overrides(settings)]
    found = read_run(run, given, kind)
    argv = command or ["reasonrl.train", found.name, *given]

    def start(observers: "Sequence[Observer]") -> "Status":
        from reasonrl.run.start import start_config

        return start_config(found.config, found.source, observers, argv=argv, overwrite=overwrite, control=control)

    return _trained(found.config, start, show, show_samples, callbacks)


def resume(
    run: str | PathLike[str] | Run,
    /,
    *,
    overrides: Sequence[str] = (),
    show: Show = "auto",
    show_samples: int = 0,
    callbacks: "Sequence[Observer]" = (),
    kind: KindName | None = None,
    **settings: Any,
) -> Run:
    """Continue a run from its latest checkpoint, as if it had not stopped; other arguments are those of :func:`train`.

    Args:
        run: its directory.
        overrides: settings that change no step that is done, such as another length; likewise ``settings``.
        show: what to print meanwhile.
        show_samples: completions to print after each step.
        callbacks: functions that are told every event.
        kind: what it must train.
        settings: as in :func:`train`. Any: values as in a run file.

    Raises:
        ConfigError: a setting was given that cannot change in a run that goes on, or the run is of another kind.
        RunError: the run is finished, is not a run, or would not go on as the run that it was.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    directory = RunDirectory.open(path)
    of = kind or directory.kind.name
    require_kind(directory, of, f"--resume {path}")
    given = [*overrides, *as_overrides(settings)]

    def start(observers: "Sequence[Observer]") -> "Status":
        from reasonrl.run.start import resume_run

        return resume_run(path, given, observers, kind=of)

    return _trained(changed_config(directory, given), start, show, show_samples, callbacks)


def fork(
    origin: str,
    /,
    *,
    overrides: Sequence[str] = (),
    data_order: "FreshOrContinue" = "fresh",
    overwrite: bool = False,
    show: Show = "auto",
    show_samples: int = 0,
    callbacks: "Sequence[Observer]" = (),
    kind: KindName | None = None,
    command: Sequence[str] = (),
    **settings: Any,
) -> Run:
    """Train a new run from another run's checkpoint; other arguments and errors are those of :func:`train`.

    Args:
        origin: ``DIR@STEP``.
        overrides: settings that replace those of the run that it begins with; ``name`` must be another one.
        data_order: problems in a fresh order, or from where the checkpoint stood.
        overwrite: replace a run of the same name.
        show: what to print meanwhile.
        show_samples: completions to print after each step.
        callbacks: functions that are told every event.
        kind: what it must train.
        command: what the manifest records as the command.
        settings: as in :func:`train`. Any: values as in a run file.
    """
    directory = RunDirectory.open(Path(origin.rpartition("@")[0] or origin))
    of = kind or directory.kind.name
    require_kind(directory, of, f"--fork {origin}")
    given = [*overrides, *as_overrides(settings)]
    argv = command or ["reasonrl.fork", origin, *given]

    def start(observers: "Sequence[Observer]") -> "Status":
        from reasonrl.run.start import fork_run

        return fork_run(origin, given, observers, argv=argv, kind=of, order=data_order, overwrite=overwrite)

    return _trained(override_run(directory.config, given), start, show, show_samples, callbacks)


def _trained(
    config: AnyConfig,
    start: "Callable[[Sequence[Observer]], Status]",
    show: Show,
    show_samples: int,
    callbacks: "Sequence[Observer]",
) -> Run:
    """Train, and return the run as it stands then."""
    from reasonrl.api.process import run_in_this_process
    from reasonrl.run.events import RunStarted

    places: list[Path] = []

    def note_place(event: "Event") -> None:
        if isinstance(event, RunStarted):
            places.append(event.path)

    with run_in_this_process(config):
        start([note_place, *_views(show, show_samples), *callbacks])
    if not places:
        raise StoppedError("stopped before the first step; nothing is lost.")
    return load_run(places[-1])


def _views(show: Show, show_samples: int) -> "list[Observer]":
    from reasonrl.api.notebook_view import NotebookView, is_notebook
    from reasonrl.run.json_lines import print_event
    from reasonrl.run.terminal import choose_view

    match show:
        case "nothing":
            return []
        case "json":
            return [print_event]
        case "auto" if is_notebook() and not show_samples:
            return [NotebookView()]
    return [choose_view(show == "lines", show_samples)]
