"""``reasonrl kto``."""

from pathlib import Path
from typing import Annotated

import typer

from reasonrl.commands.arguments import EventsAsJson, Overrides
from reasonrl.commands.complete import checkpoints, run_directories, run_files
from reasonrl.commands.finetuning import ShowRow, finetune


def kto(
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
    show_row: ShowRow = None,
    plain: Annotated[bool, typer.Option("--plain", help="One line a step, no colors.")] = False,
    as_json: EventsAsJson = False,
) -> None:
    """Train a policy by KTO on completions that are good or bad."""
    finetune("kto", run, overrides, resume, fork, overwrite=overwrite, show_row=show_row, plain=plain, as_json=as_json)
