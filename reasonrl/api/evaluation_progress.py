"""How far an evaluation is, on standard error: bars on a terminal, else a line every few seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from reasonrl.api.progress import BAR_WIDTH, SECONDS_BETWEEN_LINES, Pace, left, say
from reasonrl.evaluation.suite_run import SuiteProgress

Tell: TypeAlias = Callable[[SuiteProgress], None]


@contextmanager
def evaluation_progress() -> Iterator[Tell]:
    """Show for each suite how many completions are measured, their rate, the running figure and the time left."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=BAR_WIDTH),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figure]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[tuple[str, str], TaskID] = {}
        rate = _TokenRate()

        def tell(told: SuiteProgress) -> None:
            tokens_per_second = rate.count(told)
            key = told.suite.name, told.suite.template
            if key not in tasks:
                tasks[key] = bars.add_task(described(told), total=told.total, completed=told.done, figure="")
            bars.update(tasks[key], completed=told.done, figure=figure(told, tokens_per_second))

        yield tell


class _TokenRate:
    """Tokens a second over all suites, since the first of them began."""

    def __init__(self) -> None:
        self._began = 0.0
        self._tokens: dict[tuple[str, str], int] = {}

    def count(self, told: SuiteProgress) -> float:
        """Take in how far a suite is, and return the rate."""
        self._began = self._began or time.monotonic()
        self._tokens[told.suite.name, told.suite.template] = told.tokens
        return sum(self._tokens.values()) / max(time.monotonic() - self._began, 1e-9)


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
        self._paces: dict[tuple[str, str], Pace] = {}
        self._rate = _TokenRate()

    def __call__(self, told: SuiteProgress) -> None:
        """Print a line where one is due."""
        key, now = (told.suite.name, told.suite.template), time.monotonic()
        tokens_per_second = self._rate.count(told)
        left_s = self._paces.setdefault(key, Pace()).left_s(told.done, told.total)
        remaining = left(left_s) if told.done < told.total else ""
        if now - self._last.get(key, -SECONDS_BETWEEN_LINES) >= SECONDS_BETWEEN_LINES or told.done == told.total:
            self._last[key] = now
            said = f"{described(told)}: {told.done} of {told.total} completions"
            say(", ".join(filter(None, [said, figure(told, tokens_per_second), remaining])))
