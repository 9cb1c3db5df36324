"""``reasonrl train``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from reasonrl.commands.arguments import Overrides, find_run, is_override
from reasonrl.errors import ConfigError

INTERRUPTED = 130
"""Exit code of a run that was stopped by the user and can be resumed."""


def train(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="A recipe's name, or a run file.")] = None,
    overrides: Overrides = None,
    resume: Annotated[Path | None, typer.Option(help="Continue a stopped run: its directory.")] = None,
    fork: Annotated[str | None, typer.Option(help="Start a new run from a checkpoint: DIR@STEP.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="One line a step, no colors.")] = False,
    show_samples: Annotated[int, typer.Option(help="Completions to show after each step, with scores.")] = 0,
) -> None:
    """Train a run, and measure it on its held-out suites before, during and after."""
    from reasonrl.run.start import fork_run, resume_run, start_run
    from reasonrl.run.terminal import choose_view

    name, settings = chosen_run(run, overrides, resume, fork, example="reasonrl train quickstart")
    observers = [choose_view(plain, show_samples)]
    if resume is not None:
        status = resume_run(resume, settings, observers)
    elif fork is not None:
        status = fork_run(fork, settings, observers, argv=sys.argv)
    else:
        status = start_run(find_run(name, "policy"), settings, observers, argv=sys.argv)
    raise typer.Exit(INTERRUPTED if status == "interrupted" else 0)


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
