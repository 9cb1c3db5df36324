"""Alarms over the metrics of a reward model's training, as a function of those metrics alone."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import ClassVar, Final

from reasonrl.config.reward_model import RewardModelAlarmSettings
from reasonrl.run.alarm_readings import without_effect
from reasonrl.run.events import AlarmRaised, Event, HeldoutMeasured
from reasonrl.run.update_alarms import MEANINGS, UpdateAlarms

ACCURACY: Final = "rm/accuracy"
HELDOUT_ACCURACIES: Final = ("heldout/accuracy", "heldout/label_accuracy")
"""On pairs; where there are none, on labels."""

RECENT_STEPS: Final = 20
"""Steps whose training accuracies are averaged: a batch's alone is too noisy to say that it rose."""

NO_LEARNING_STEPS: Final = 5
"""Steps in a row without effect that are an alarm."""


class RewardModelAlarms(UpdateAlarms):
    """Observes the metrics of a reward model's training and raises alarms.

    Args:
        settings: thresholds and actions.
        notify: tells all observers of an alarm.
    """

    meanings: ClassVar[Mapping[str, str]] = {
        **MEANINGS,
        "no_learning": "The training costs its time and changes nothing: raise learner.learning_rate, or look whether "
        "the schedule is over (run.steps, learner.schedule_steps).",
        "heldout_fall": "Usually the training pairs are being memorized: train for fewer steps, or lower the learning "
        "rate.",
    }
    patience: ClassVar[Mapping[str, int]] = {"no_learning": NO_LEARNING_STEPS}

    def __init__(self, settings: RewardModelAlarmSettings, notify: Callable[[AlarmRaised], None]) -> None:
        super().__init__(settings, notify)
        self._limits = settings
        self._accuracies: dict[int, float] = {}
        self._best: tuple[int, float] | None = None

    def __call__(self, event: Event) -> None:
        """Raise the alarms that an event sets off, then do what the gravest asks for."""
        super().__call__(event)
        if isinstance(event, HeldoutMeasured):
            self._apply(self.after_evaluation(event.step, event.metrics))

    def after_step(self, step: int, metrics: Mapping[str, float]) -> list[AlarmRaised]:
        """Take in the metrics of a step; return the alarms that it sets off."""
        alarms = super().after_step(step, metrics)
        if math.isfinite(accuracy := metrics.get(ACCURACY, math.nan)):
            self._accuracies[step] = accuracy
        return alarms

    def _of_finite(self, step: int, metrics: Mapping[str, float]) -> Sequence[AlarmRaised | None]:
        idle = without_effect("rm", metrics, self._limits.min_update)
        return (self._alarm(step, "no_learning", bool(idle), "; ".join(idle)),)

    def after_evaluation(self, step: int, metrics: Mapping[str, float]) -> list[AlarmRaised]:
        """Take in a measurement; it alarms when accuracy fell on held-out prompts although it rose in training."""
        value = next((metrics[name] for name in HELDOUT_ACCURACIES if name in metrics), None)
        if value is None:
            return []
        best_step, best = self._best = self._best or (step, value)
        then, now = self._training_accuracy(best_step), self._training_accuracy(step)
        fell = value < best - self._limits.heldout_margin and now > then
        if value > best:
            self._best = (step, value)
        seen = (
            f"held-out accuracy fell to {value:.1%} from {best:.1%} after step {best_step}, while the training "
            f"accuracy rose from {then:.1%} to {now:.1%}"
        )
        alarm = self._alarm(step, "heldout_fall", fell, seen, since=best_step + 1)
        return [alarm] if alarm else []

    def _training_accuracy(self, step: int) -> float:
        """Return the mean over the steps up to this one; over the first steps for an early one."""
        until = sum(at <= step for at in self._accuracies)
        window = list(self._accuracies.values())[: max(until, RECENT_STEPS)][-RECENT_STEPS:]
        return fmean(window) if window else math.nan
