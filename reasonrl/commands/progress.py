"""How far a command is, on standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer

SECONDS_BETWEEN_LINES: Final = 10.0
"""Time between two lines where there is no terminal."""


@contextmanager
def progress(what: str, unit: str = "problems") -> Iterator[Callable[[int, int], None]]:
    """Show how many problems, or other units, are done: a bar on a terminal, else a line every few seconds."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what, unit)
        return
    with Bars(console=console, transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _lines(what: str, unit: str) -> Callable[[int, int], None]:
    last = -SECONDS_BETWEEN_LINES

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES or done == total:
            typer.echo(f"{what}: {done} of {total} {unit}", err=True)
            last = time.monotonic()

    return tell
