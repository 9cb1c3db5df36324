"""``reasonrl rm train``."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from reasonrl.commands.arguments import EventsAsJson, Overrides
from reasonrl.commands.complete import checkpoints, run_directories, run_files
from reasonrl.commands.train import chosen_run, chosen_show, refuse_overwrite
from reasonrl.system.stopping import INTERRUPTED


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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of the same name.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="One line a step, no colors.")] = False,
    as_json: EventsAsJson = False,
) -> None:
    """Train a reward model on preferences, and measure it on held-out prompts before, during and after."""
    name, settings = chosen_run(run, overrides, resume, fork, example="reasonrl rm train RM.yaml")
    show = chosen_show(plain, as_json)

    from reasonrl.config.find import find_run

    path = find_run(name, "reward_model") if resume is None and fork is None else None

    from reasonrl.api import training

    # Any: each its own, as the functions take them
    started: dict[str, Any] = {"overwrite": overwrite, "command": sys.argv}
    given: dict[str, Any] = {"overrides": settings, "show": show, "kind": "reward_model"}
    if path is not None:
        trained = training.train(path, **started, **given)
    elif resume is not None:
        refuse_overwrite(resume, overwrite)
        trained = training.resume(resume, **given)
    else:
        assert fork is not None, "chosen_run has seen to it"
        trained = training.fork(fork, **started, **given)
    raise typer.Exit(INTERRUPTED if trained.status == "interrupted" else 0)
