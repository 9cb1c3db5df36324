"""How far something is, on standard error: a bar on a terminal, else a line every few seconds; with the time left."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

SECONDS_BETWEEN_LINES: Final = 10.0
"""Time between two lines where there is no terminal."""
BAR_WIDTH: Final = 24


class Pace:
    """The time left, at the pace since the first count: what was done before that cost nothing now."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def left_s(self, done: int, total: int) -> float | None:
        """Take in how much is done; return the seconds left, None until something was done since the first count."""
        now = time.monotonic()
        self._first = self._first or (now, done)
        began, before = self._first
        return (now - began) * (total - done) / (done - before) if done > before else None


def left(seconds: float | None) -> str:
    """Return the time left as text; empty where it is not known."""
    return "" if seconds is None else f"{timedelta(seconds=round(seconds))} left"


def say(text: str) -> None:
    """Write a line to standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, unit: str = "problems") -> Iterator[Callable[[int, int], None]]:
    """Show how many problems, or other units, are done.

    Args:
        what: what is done: ``sampling``.
        unit: what is counted; ``bytes`` are shown in larger units.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what, unit)
        return
    counted = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=BAR_WIDTH), counted, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _lines(what: str, unit: str) -> Callable[[int, int], None]:
    last, pace = -SECONDS_BETWEEN_LINES, Pace()

    def tell(done: int, total: int) -> None:
        nonlocal last
        left_s = pace.left_s(done, total)
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES or done == total:
            said = f"{what}: {_amount(done, total, unit)}"
            say(", ".join(filter(None, [said, left(left_s) if done < total else ""])))
            last = time.monotonic()

    return tell


def _amount(done: int, total: int, unit: str) -> str:
    return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB" if unit == "bytes" else f"{done} of {total} {unit}"
