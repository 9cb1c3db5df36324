"""``reasonrl rm train``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from reasonrl.commands.arguments import Overrides, find_run
from reasonrl.commands.train import INTERRUPTED, chosen_run


def train(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="A recipe's name, or a run file.")] = None,
    overrides: Overrides = None,
    resume: Annotated[Path | None, typer.Option(help="Continue a stopped run: its directory.")] = None,
    fork: Annotated[str | None, typer.Option(help="Start a new run from a checkpoint: DIR@STEP.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="One line a step, no colors.")] = False,
) -> None:
    """Train a reward model on preferences, and measure it on held-out prompts before, during and after."""
    from reasonrl.run.start import fork_run, resume_run, start_run
    from reasonrl.run.terminal import choose_view

    name, settings = chosen_run(run, overrides, resume, fork, example="reasonrl rm train RM.yaml")
    observers = [choose_view(plain, show_samples=0)]
    if resume is not None:
        status = resume_run(resume, settings, observers, kind="reward_model")
    elif fork is not None:
        status = fork_run(fork, settings, observers, argv=sys.argv, kind="reward_model")
    else:
        path = find_run(name, "reward_model")
        status = start_run(path, settings, observers, argv=sys.argv, kind="reward_model")
    raise typer.Exit(INTERRUPTED if status == "interrupted" else 0)
