"""How long a run will still take, from how long its steps took."""

from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from statistics import fmean
from typing import Final

RECENT_STEPS: Final = 20
"""Steps whose time counts: lengths of completions change while a run learns."""


class TimeLeft:
    """Takes in the metrics of steps, in order."""

    def __init__(self) -> None:
        self._steps_s: deque[float] = deque(maxlen=RECENT_STEPS)
        self._evaluations_s = 0.0
        self._num_steps = 0

    def add(self, metrics: Mapping[str, float]) -> None:
        """Take in what a step took, and the evaluation before it."""
        if "seconds/step" in metrics:
            self._steps_s.append(metrics["seconds/step"])
            self._evaluations_s += metrics.get("seconds/evaluation", 0.0)
            self._num_steps += 1

    def seconds(self, num_left: int) -> float | None:
        """Return how long so many steps will take with their share of the evaluations; None where no step is known."""
        if not self._steps_s:
            return None
        return num_left * (fmean(self._steps_s) + self._evaluations_s / self._num_steps)

    def text(self, num_left: int) -> str:
        """Say it: ``0:04:50 left``; nothing where no step is known, or none is left."""
        seconds = self.seconds(num_left)
        return f"{duration(seconds)} left" if seconds is not None and num_left > 0 else ""


def duration(seconds: float) -> str:
    """Return a time as hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))
