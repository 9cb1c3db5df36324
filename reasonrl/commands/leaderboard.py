"""``reasonrl leaderboard``."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from reasonrl.commands.arguments import AsJson
from reasonrl.errors import ConfigError


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="Folder with results, run directories among them.")],
    suites: Annotated[list[str] | None, typer.Option("--suite", help="Which suite; all if not given.")] = None,
    metric: Annotated[str, typer.Option(help="Which figure: exact, pass@8, maj@8, truncated and so on.")] = "exact",
    all_steps: Annotated[bool, typer.Option("--all-steps", help="Every evaluation of a run.")] = False,
    sort: Annotated[Literal["figure", "model"], typer.Option(help="What rows are sorted by.")] = "figure",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put all results under a folder in a table; what cannot be compared is marked."""
    from reasonrl.evaluation.leaderboard import read_board
    from reasonrl.evaluation.leaderboard_text import board_values, render_board

    if markdown and as_json:
        raise ConfigError("--markdown and --json: give one of them.")
    if not folder.is_dir():
        raise ConfigError(f"{folder}: that is not a folder.")
    board = read_board(folder, suites=suites or [], metric=metric, all_steps=all_steps, by_name=sort == "model")
    typer.echo(json.dumps(board_values(board), indent=2) if as_json else render_board(board, markdown=markdown))
