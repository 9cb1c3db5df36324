"""What a notebook shows of a run while it trains: one output that is renewed, in place of a line for each step."""

import sys
import time
from typing import Any, Final

from reasonrl.api.html import Html, curves_html, list_html, paragraph, progress_html
from reasonrl.run.events import (
    AlarmRaised,
    Event,
    HeldoutMeasured,
    Message,
    RunEnded,
    RunStarted,
    StepFinished,
    SuiteEvaluated,
)
from reasonrl.run.time_left import TimeLeft
from reasonrl.system.extras import needs_extra

CURVES: Final = (
    "reward/mean",
    "completion/length_mean",
    "policy/entropy",
    "rm/loss",
    "rm/accuracy",
    "heldout/accuracy",
)
"""Metrics that are drawn, where the run has them."""
MAX_NOTES: Final = 6
"""Messages that stay; the first of them is the run's start."""
SECONDS_BETWEEN: Final = 0.5
"""Time between two renewals."""


def is_notebook() -> bool:
    """Say whether this process runs the cells of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class NotebookView:
    """An observer with one output: progress, held-out figures, curves, alarms and messages."""

    def __init__(self) -> None:
        self._output: Any = None  # Any: IPython's handle of an output
        self._last_s = 0.0
        self._title, self._step, self._num_steps = "", 0, 1
        self._time_left = TimeLeft()
        self._heldout: list[str] = []
        self._notes: list[str] = []
        self._curves: dict[str, tuple[list[float], list[float]]] = {}

    def __call__(self, event: Event) -> None:
        """Take in what happened, and show it."""
        self._take_in(event)
        if isinstance(event, RunEnded) or time.monotonic() - self._last_s >= SECONDS_BETWEEN:
            self._last_s = time.monotonic()
            self._show()

    def _take_in(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._title, self._step, self._num_steps = event.config.name, event.steps_done, event.num_steps
                self._notes += [f"{event.path}", *(f"warning: {warning}" for warning in event.warnings)]
            case StepFinished(record=record):
                self._step = record.step
                self._time_left.add(record.metrics)
                self._draw(record.step, dict(record.metrics))
            case HeldoutMeasured():
                self._draw(event.step, dict(event.metrics))
            case SuiteEvaluated(result=result):
                found = result.estimate()
                figure = f"{found.value:.1%} [{found.lower:.1%}, {found.upper:.1%}]"
                self._heldout.append(f"step {event.step}: {result.name} {figure}")
            case AlarmRaised():
                self._notes.append(f"alarm {event.kind} after step {event.step}: {event.message}")
            case Message():
                self._notes.append(event.text)
            case RunEnded():
                self._notes += [event.message] if event.message else []

    def _draw(self, step: int, metrics: dict[str, float]) -> None:
        for name in CURVES:
            if name in metrics:
                steps, values = self._curves.setdefault(name, ([], []))
                steps.append(step)
                values.append(metrics[name])

    def _show(self) -> None:
        shown = Html(self._html(), f"{self._title}: step {self._step}/{self._num_steps}")
        if self._output is None:
            with needs_extra("notebook", "a notebook"):
                from IPython.display import display
            self._output = display(shown, display_id=True)  # type: ignore[no-untyped-call]  # IPython
        else:
            self._output.update(shown)

    def _html(self) -> str:
        left = self._time_left.text(self._num_steps - self._step)
        step = ", ".join(filter(None, [f"step {self._step}/{self._num_steps}", left]))
        first, *later = self._notes or [""]
        notes = [first, *later[-MAX_NOTES + 1 :]] if first else []
        return "".join(
            [
                paragraph(step, strong=self._title),
                progress_html(self._step, self._num_steps),
                list_html(self._heldout),
                curves_html(self._curves),
                list_html(notes),
            ]
        )
