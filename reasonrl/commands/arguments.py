"""Arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from reasonrl.commands.complete import run_files

RunFile = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A recipe's name, or the path of a run file.", autocompletion=run_files),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Settings that replace the run file's.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
EventsAsJson = Annotated[bool, typer.Option("--json", help="Print what happens as JSON, one object a line.")]


def is_override(text: str) -> bool:
    """Tell ``key=value`` from a run's name."""
    return "=" in text and not Path(text).is_file()
