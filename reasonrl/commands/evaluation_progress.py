"""How far an evaluation is, on standard error: bars on a terminal, else a line every few seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeAlias

import typer

from reasonrl.commands.progress import SECONDS_BETWEEN_LINES
from reasonrl.evaluation.suite_run import SuiteProgress

Tell: TypeAlias = Callable[[SuiteProgress], None]


@contextmanager
def evaluation_progress() -> Iterator[Tell]:
    """Show for each suite how many completions are measured, their rate, the running figure and the time left."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figure]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[tuple[str, str], TaskID] = {}
        rates = _Rates()

        def tell(told: SuiteProgress) -> None:
            rates.count(told)
            key = told.suite.name, told.suite.template
            if key not in tasks:
                tasks[key] = bars.add_task(described(told), total=told.total, completed=told.done, figure="")
            bars.update(tasks[key], completed=told.done, figure=figure(told, rates.tokens_per_second()))

        yield tell


class _Rates:
    """The rate over all suites, and the time left of each."""

    def __init__(self) -> None:
        self._began: dict[tuple[str, str], float] = {}
        self._tokens: dict[tuple[str, str], int] = {}

    def count(self, told: SuiteProgress) -> None:
        """Note how far a suite is."""
        key = told.suite.name, told.suite.template
        self._began.setdefault(key, time.monotonic())
        self._tokens[key] = told.tokens

    def tokens_per_second(self) -> float:
        """Return the tokens of all suites over the time since the first of them began."""
        return sum(self._tokens.values()) / max(time.monotonic() - min(self._began.values()), 1e-9)

    def left_s(self, told: SuiteProgress) -> float | None:
        """Return the time left for a suite at its rate; None before its first completion in this call."""
        done = told.done - told.earlier
        seconds = time.monotonic() - self._began[told.suite.name, told.suite.template]
        return seconds * (told.total - told.done) / done if done else None


def described(told: SuiteProgress) -> str:
    """Return the suite as it is measured."""
    limit = "" if told.num_problems_in_suite is None else f" (first {len(told.suite.problems)} problems)"
    return f"{told.suite.name} in {told.suite.template}{limit}"


def figure(told: SuiteProgress, tokens_per_second: float) -> str:
    """Return the running mean and the rate."""
    mean = "" if told.mean is None else f"{told.mean:.1%} so far"
    rate = f"{tokens_per_second:,.0f} tokens/s" if told.tokens else ""
    return "  ".join(filter(None, [mean, rate]))


class _Lines:
    """A line every few seconds, and one at the end of each suite."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}
        self._rates = _Rates()

    def __call__(self, told: SuiteProgress) -> None:
        """Print a line where one is due."""
        key, now = (told.suite.name, told.suite.template), time.monotonic()
        self._rates.count(told)
        if now - self._last.get(key, -SECONDS_BETWEEN_LINES) >= SECONDS_BETWEEN_LINES or told.done == told.total:
            self._last[key] = now
            left_s = self._rates.left_s(told)
            left = "" if left_s is None else f"{timedelta(seconds=round(left_s))} left"
            said = f"{described(told)}: {told.done} of {told.total} completions"
            typer.echo(", ".join(filter(None, [said, figure(told, self._rates.tokens_per_second()), left])), err=True)
