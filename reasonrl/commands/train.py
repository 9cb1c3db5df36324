"""``reasonrl train``."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reasonrl.commands.arguments import EventsAsJson, Overrides, is_override
from reasonrl.commands.complete import checkpoints, run_directories, run_files
from reasonrl.commands.ranks import launched_run
from reasonrl.distributed.accelerate_launch import require_all_started
from reasonrl.distributed.environment import launch
from reasonrl.distributed.launch import launch_ranks
from reasonrl.distributed.processes import is_launched, require_processes
from reasonrl.errors import ConfigError
from reasonrl.system.stopping import INTERRUPTED

if TYPE_CHECKING:
    from reasonrl.api.training import Show


def train(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="A recipe's name, or a run file.", autocompletion=run_files),
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue a stopped run: its directory.", autocompletion=run_directories)
    ] = None,
    fork: Annotated[
        str | None, typer.Option(help="Start a new run from a checkpoint: DIR@STEP.", autocompletion=checkpoints)
    ] = None,
    data_order: Annotated[
        Literal["fresh", "continue"] | None,
        typer.Option(help="Data of a fork: in a fresh order (the default), or where the checkpoint stood."),
    ] = None,
    control: Annotated[
        Literal["random", "format", "inverted"] | None,
        typer.Option(help="Train a control of the run: on chance, on the answer's form alone, or on the opposite."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of the same name.")] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes that learn together, started on this machine.")
    ] = None,
    metric_names: Annotated[
        Literal["reasonrl", "trl"] | None,
        typer.Option(help="Whose names metrics have in trackers; sets run.metric_names."),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="One line a step, no colors.")] = False,
    show_samples: Annotated[int, typer.Option(min=0, help="Completions to show after each step, with scores.")] = 0,
    as_json: EventsAsJson = False,
) -> None:
    """Train a policy by RL, and measure it on its held-out suites before, during and after."""
    name, settings = chosen_run(run, overrides, resume, fork, example="reasonrl train quickstart")
    settings += [f"run.metric_names={metric_names}"] if metric_names is not None else []
    if data_order is not None and fork is None:
        raise ConfigError("--data-order is for a fork: add --fork DIR@STEP.")
    is_new = resume is None and fork is None
    if control is not None and not is_new:
        raise ConfigError(
            f"--control {control} is for a new run; one that goes on or is forked stays what it is: leave it out."
        )
    if resume is not None:
        refuse_overwrite(resume, overwrite)
    show = chosen_show(plain, as_json, show_samples)

    from reasonrl.config.find import find_run

    path = find_run(name, "policy") if is_new else None
    config, settings = launched_run(path, resume, fork, settings)
    if processes is not None and processes > 1 and not is_launched():
        require_processes(config.learner.parallel, processes, found=processes)
        raise typer.Exit(launch_ranks(processes, sys.argv[1:]))
    require_all_started(os.environ)
    require_processes(config.learner.parallel, processes, found=launch().num_ranks)

    from reasonrl.api import training

    # Any: each its own, as the functions take them
    started: dict[str, Any] = {"overwrite": overwrite, "command": sys.argv}
    given: dict[str, Any] = {"overrides": settings, "show": show, "show_samples": show_samples, "kind": "policy"}
    if path is not None:
        trained = training.train(path, control=control, **started, **given)
    elif resume is not None:
        trained = training.resume(resume, **given)
    else:
        assert fork is not None, "chosen_run has seen to it"
        trained = training.fork(fork, data_order=data_order or "fresh", **started, **given)
    raise typer.Exit(INTERRUPTED if trained.status == "interrupted" else 0)


def chosen_run(
    run: str | None, overrides: Sequence[str] | None, resume: Path | None, fork: str | None, *, example: str
) -> tuple[str, list[str]]:
    """Return the name of a new run, empty for one that is resumed or forked, and all settings that were given.

    Raises:
        ConfigError: not exactly one of the three ways to train was chosen.
    """
    is_new = run is not None and not is_override(run)
    if [is_new, resume is not None, fork is not None].count(True) != 1:
        raise ConfigError(f"give one of: a run ({example}), --resume DIR, or --fork DIR@STEP.")
    first = [] if run is None or is_new else [run]
    return run or "", [*first, *(overrides or [])]


def refuse_overwrite(resume: Path, overwrite: bool) -> None:
    """Refuse to replace a run that is to be continued.

    Raises:
        ConfigError: both were asked for.
    """
    if overwrite:
        raise ConfigError(f"--resume {resume} goes on with a run, and --overwrite replaces one: give one of them.")


def chosen_show(plain: bool, as_json: bool, show_samples: int = 0) -> "Show":
    """Return what is printed while a run trains.

    Raises:
        ConfigError: JSON was asked for beside what is for people.
    """
    if as_json and (plain or show_samples):
        raise ConfigError(f"--json and {'--plain' if plain else '--show-samples'}: give one of them.")
    return "json" if as_json else "lines" if plain else "auto"
