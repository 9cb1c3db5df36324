"""``reasonrl rm train``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from reasonrl.commands.arguments import Overrides, checked_run
from reasonrl.commands.train import chosen_run, refuse_overwrite
from reasonrl.system.stopping import INTERRUPTED


def train(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="A recipe's name, or a run file.")] = None,
    overrides: Overrides = None,
    resume: Annotated[Path | None, typer.Option(help="Continue a stopped run: its directory.")] = None,
    fork: Annotated[str | None, typer.Option(help="Start a new run from a checkpoint: DIR@STEP.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of the same name.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="One line a step, no colors.")] = False,
) -> None:
    """Train a reward model on preferences, and measure it on held-out prompts before, during and after."""
    name, settings = chosen_run(run, overrides, resume, fork, example="reasonrl rm train RM.yaml")
    path = checked_run(name, settings, "reward_model") if resume is None and fork is None else None

    from reasonrl.run.start import fork_run, resume_run, start_run
    from reasonrl.run.terminal import choose_view

    observers = [choose_view(plain, show_samples=0)]
    if path is not None:
        status = start_run(path, settings, observers, argv=sys.argv, kind="reward_model", overwrite=overwrite)
    elif resume is not None:
        refuse_overwrite(resume, overwrite)
        status = resume_run(resume, settings, observers, kind="reward_model")
    else:
        assert fork is not None, "chosen_run has seen to it"
        status = fork_run(fork, settings, observers, argv=sys.argv, kind="reward_model", overwrite=overwrite)
    raise typer.Exit(INTERRUPTED if status == "interrupted" else 0)
