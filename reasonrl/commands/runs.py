"""``reasonrl status``, ``reasonrl tail`` and ``reasonrl show``: look at runs, also while they train."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from reasonrl.commands.arguments import AsJson
from reasonrl.commands.complete import run_directories
from reasonrl.errors import RunError

if TYPE_CHECKING:
    from reasonrl.run.status import RunStatus
    from reasonrl.run.tail import RunTail

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory.", autocompletion=run_directories, show_default=False)
]
POLL_S: Final = 0.5
"""Seconds between looks at a run that is followed."""
WATCH_S: Final = 2.0
"""Seconds between looks at all runs."""


def status(
    folder: Annotated[
        Path,
        typer.Argument(metavar="[DIR]", help="A run directory, or a folder of them.", autocompletion=run_directories),
    ] = Path("runs"),
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Renew the lines until no run is running.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print one line for each run: how far it is, its held-out figure before and now, its alarms, when it ends."""
    from reasonrl.run.status import RunStatus, status_lines

    def look() -> "Sequence[RunStatus | str]":
        return [*status_lines(_runs(folder))]

    if as_json:
        typer.echo(json.dumps([_record(one) for one in look()], indent=2))
    elif watch:
        _watch(look, lambda found: any(isinstance(one, RunStatus) and one.is_going for one in found))
    else:
        typer.echo(_table(look()))


def _runs(folder: Path) -> Sequence[Path]:
    from reasonrl.run.history import runs_under

    if not (found := runs_under(folder)):
        what = "there are no runs in it" if folder.is_dir() else "there is no such folder"
        raise RunError(f"{folder}: {what}. Name a run directory, or the folder that holds them (run.root).")
    return found


def _table(found: "Sequence[RunStatus | str]") -> str:
    from reasonrl.system.table import aligned

    rows = [[one] if isinstance(one, str) else one.cells() for one in found]
    readable = [row for row in rows if len(row) > 1]  # the others would widen the first column
    filled = [column for column in zip(*readable, strict=True) if any(column)]
    lines = iter(aligned([*zip(*filled, strict=True)]) if readable else ())
    return "\n".join(row[0] if len(row) == 1 else next(lines) for row in rows)


def _record(one: "RunStatus | str") -> object:
    return {"error": one} if isinstance(one, str) else one.record()


def _watch(look: "Callable[[], Sequence[RunStatus | str]]", is_going: "Callable[..., bool]") -> None:
    """Renew a table on a terminal; print it again where it has changed elsewhere."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    found = look()
    if not console.is_terminal:
        _print_changes(look, is_going)
        return
    with Live(Text(_table(found)), console=console, auto_refresh=False) as live:
        while is_going(found):
            time.sleep(WATCH_S)
            found = look()
            live.update(Text(_table(found)), refresh=True)


def _print_changes(look: "Callable[[], Sequence[RunStatus | str]]", is_going: "Callable[..., bool]") -> None:
    shown = ""
    while True:
        found = look()
        if (table := _table(found)) != shown:
            typer.echo(table)
            shown = table
        if not is_going(found):
            return
        time.sleep(WATCH_S)


def tail(
    run: RunFolder,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="Lines to begin with: the last ones.")] = 10,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until the run is over.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records of the run's files, one a line.")] = False,
) -> None:
    """Print what a run does as it does it: a line for each step, evaluation, alarm and event. Ends with the run."""
    from rich.console import Console

    from reasonrl.run.history import History
    from reasonrl.run.tail import RunTail
    from reasonrl.run.terminal import PlainView

    view = PlainView(Console(force_terminal=False, color_system=None, highlight=False))
    followed = RunTail(History.open(run), view)
    is_over = followed.is_over
    _print_new(followed, lines, as_json)
    while follow and not is_over:
        sys.stdout.flush()
        time.sleep(POLL_S)
        is_over = followed.is_over  # before the files: what came before the end is printed
        _print_new(followed, None, as_json)
    if is_over and not as_json:
        followed.print_end()


def _print_new(followed: "RunTail", last: int | None, as_json: bool) -> None:
    if not as_json:
        followed.print_new(last)
        return
    records = followed.new_records()
    for record in records[0 if last is None else max(len(records) - last, 0) :]:
        typer.echo(json.dumps(record))


def show(run: RunFolder, as_json: AsJson = False) -> None:
    """Print a run on one screen: its figures with small plots, its alarms, its last evaluation, its checkpoints."""
    from rich.console import Console

    from reasonrl.run.history import History
    from reasonrl.run.show import RunSummary

    found = RunSummary.of(History.open(run))
    text = json.dumps(found.record(), indent=2) if as_json else found.text(Console().width)
    encoding = sys.stdout.encoding or "utf-8"  # a terminal of another encoding has no Braille
    typer.echo(text.encode(encoding, "replace").decode(encoding))
