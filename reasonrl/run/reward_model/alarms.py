"""Alarms over the metrics of a reward model's training, as a function of those metrics alone."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any, Final, Literal, Self, TypeAlias

from reasonrl.config.kinds import kind_of
from reasonrl.config.reward_model import RewardModelAlarmSettings
from reasonrl.config.settings import AlarmAction
from reasonrl.run.alarm_readings import without_effect
from reasonrl.run.alarms import MAX_RECENT_NORMS, MIN_NORMS, Episode, apply_actions
from reasonrl.run.events import AlarmRaised, Event, HeldoutMeasured, RunStarted, StepFinished

Kind: TypeAlias = Literal["not_finite", "gradient_spike", "no_learning", "heldout_fall"]
"""Named as the setting that says what the alarm does."""

ACCURACY: Final = "rm/accuracy"
GRAD_NORM: Final = "rm/grad_norm"
HELDOUT_ACCURACIES: Final = ("heldout/accuracy", "heldout/label_accuracy")
"""On pairs; where there are none, on labels."""

RECENT_STEPS: Final = 20
"""Steps whose training accuracies are averaged: a batch's alone is too noisy to say that it rose."""

NO_LEARNING_STEPS: Final = 5
"""Steps in a row without effect that are an alarm."""

MEANINGS: Final[Mapping[Kind, str]] = {
    "not_finite": "Usually the learning rate is too high, or a product overflows. Its update was left out.",
    "gradient_spike": "Usually one strange batch, or the first sign of divergence. Lower the learning rate or "
    "learner.max_grad_norm when it happens again.",
    "no_learning": "The training costs its time and changes nothing: raise learner.learning_rate, or look whether the "
    "schedule is over (run.steps, learner.schedule_steps).",
    "heldout_fall": "Usually the training pairs are being memorized: train for fewer steps, or lower the learning "
    "rate.",
}
"""What each alarm usually means, and what to do."""


class RewardModelAlarms:
    """Observes the metrics of a reward model's training and raises alarms.

    Args:
        settings: thresholds and actions.
        notify: tells all observers of an alarm.
    """

    def __init__(self, settings: RewardModelAlarmSettings, notify: Callable[[AlarmRaised], None]) -> None:
        self._settings = settings
        self._notify = notify
        self._resume = ""
        self._episodes: dict[Kind, Episode] = {}
        self._norms: deque[float] = deque(maxlen=MAX_RECENT_NORMS)
        self._accuracies: dict[int, float] = {}
        self._best: tuple[int, float] | None = None

    def __call__(self, event: Event) -> None:
        """Raise the alarms that an event sets off, then do what the gravest asks for.

        Raises:
            RunError: it stops the run.
            RollBackRequestedError: it sends the run back.
        """
        match event:
            case RunStarted():
                self._resume = f"{kind_of(event.config).command} --resume {event.path}"
            case StepFinished():
                self._apply(self.after_step(event.step, event.record.metrics))
            case HeldoutMeasured():
                self._apply(self.after_evaluation(event.step, event.metrics))

    def _apply(self, alarms: Sequence[AlarmRaised]) -> None:
        apply_actions(alarms, self._notify, self._resume)

    def replay(self, records: Iterable[Mapping[str, Any]]) -> Self:
        """Take in the lines of a ``metrics.jsonl`` and raise nothing; return the monitor. Any: JSON values."""
        for record in records:
            metrics = {name: float(value) for name, value in record.items() if "/" in name}
            dropped = {"a number": math.nan} if record.get("dropped_non_finite") else {}
            if any(name.startswith("heldout/") for name in metrics):
                self.after_evaluation(record["step"], metrics)
            else:
                self.after_step(record["step"], metrics | dropped)
        return self

    def after_step(self, step: int, metrics: Mapping[str, float]) -> list[AlarmRaised]:
        """Take in the metrics of a step; return the alarms that it sets off."""
        broken = sorted(name for name, value in metrics.items() if not math.isfinite(value))
        alarms = [self._alarm(step, "not_finite", bool(broken), f"{', '.join(broken)} not finite")]
        if math.isfinite(norm := metrics.get(GRAD_NORM, math.nan)):
            alarms.append(self._spike(step, norm))
            idle = without_effect("rm", metrics, self._settings.min_update)
            alarms.append(self._alarm(step, "no_learning", bool(idle), "; ".join(idle)))
        if math.isfinite(accuracy := metrics.get(ACCURACY, math.nan)):
            self._accuracies[step] = accuracy
        return [alarm for alarm in alarms if alarm]

    def _spike(self, step: int, norm: float) -> AlarmRaised | None:
        """Compare a gradient's norm with those of the steps before."""
        usual = median(self._norms) if len(self._norms) >= MIN_NORMS else 0.0
        self._norms.append(norm)
        spiked = 0 < usual * self._settings.spike_factor < norm
        return self._alarm(step, "gradient_spike", spiked, f"gradient norm {norm:.3g}, usual {usual:.3g}")

    def after_evaluation(self, step: int, metrics: Mapping[str, float]) -> list[AlarmRaised]:
        """Take in a measurement; it alarms when accuracy fell on held-out prompts although it rose in training."""
        value = next((metrics[name] for name in HELDOUT_ACCURACIES if name in metrics), None)
        if value is None:
            return []
        best_step, best = self._best = self._best or (step, value)
        then, now = self._training_accuracy(best_step), self._training_accuracy(step)
        fell = value < best - self._settings.heldout_margin and now > then
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

    def _alarm(self, step: int, kind: Kind, is_bad: bool, seen: str, *, since: int | None = None) -> AlarmRaised | None:
        """Take a reading into its episode; return the alarm that begins with it, if one does and is wanted."""
        patience = NO_LEARNING_STEPS if kind == "no_learning" else 1
        episode = self._episodes.setdefault(kind, Episode(patience))
        action: AlarmAction = getattr(self._settings, kind)
        if not episode.observe(step, is_bad) or action == "off":
            return None
        first = since or episode.since
        message = f"{seen}, since step {first}. {MEANINGS[kind]} Open metrics.jsonl."
        return AlarmRaised(step=step, kind=kind, message=message, action=action, since=first)
