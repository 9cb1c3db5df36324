"""Alarms over the metrics of updates, whatever they minimize, as a function of those metrics alone."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, ClassVar, Final, Self

from reasonrl.config.alarms import UpdateAlarmSettings
from reasonrl.config.kinds import kind_of
from reasonrl.config.settings import AlarmAction
from reasonrl.run.alarms import MAX_RECENT_NORMS, MIN_NORMS, Episode, apply_actions
from reasonrl.run.events import AlarmRaised, Event, RunStarted, StepFinished

MEANINGS: Final[Mapping[str, str]] = {
    "not_finite": "Usually the learning rate is too high, or a product overflows. Its update was left out.",
    "gradient_spike": "Usually one strange batch, or the first sign of divergence. Lower the learning rate or "
    "learner.max_grad_norm when it happens again.",
}
"""What each alarm usually means, and what to do; named as the setting that says what the alarm does."""


class UpdateAlarms:
    """Observes the metrics of a run that updates a model on given rows, and raises alarms.

    Args:
        settings: thresholds and actions.
        notify: tells all observers of an alarm.
    """

    meanings: ClassVar[Mapping[str, str]] = MEANINGS
    patience: ClassVar[Mapping[str, int]] = {}
    """Readings in a row that are an alarm, where one is not enough."""

    def __init__(self, settings: UpdateAlarmSettings, notify: Callable[[AlarmRaised], None]) -> None:
        self._settings = settings
        self._notify = notify
        self._resume = ""
        self._episodes: dict[str, Episode] = {}
        self._norms: deque[float] = deque(maxlen=MAX_RECENT_NORMS)

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

    def _apply(self, alarms: Sequence[AlarmRaised]) -> None:
        apply_actions(alarms, self._notify, self._resume)

    def replay(self, records: Iterable[Mapping[str, Any]]) -> Self:
        """Take in the lines of a ``metrics.jsonl`` and raise nothing; return the alarms. Any: JSON values."""
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
        found = [self._alarm(step, "not_finite", bool(broken), f"{', '.join(broken)} not finite")]
        norm = next((value for name, value in metrics.items() if name.endswith("/grad_norm")), math.nan)
        if math.isfinite(norm):
            found += [self._spike(step, norm), *self._of_finite(step, metrics)]
        return [alarm for alarm in found if alarm]

    def _of_finite(self, step: int, metrics: Mapping[str, float]) -> Sequence[AlarmRaised | None]:
        """Return the further alarms that a step with a finite gradient sets off."""
        return ()

    def after_evaluation(self, step: int, metrics: Mapping[str, float]) -> list[AlarmRaised]:
        """Take in a measurement; return the alarms that it sets off."""
        return []

    def _spike(self, step: int, norm: float) -> AlarmRaised | None:
        """Compare a gradient's norm with those of the steps before."""
        usual = median(self._norms) if len(self._norms) >= MIN_NORMS else 0.0
        self._norms.append(norm)
        spiked = 0 < usual * self._settings.spike_factor < norm
        return self._alarm(step, "gradient_spike", spiked, f"gradient norm {norm:.3g}, usual {usual:.3g}")

    def _alarm(self, step: int, kind: str, is_bad: bool, seen: str, *, since: int | None = None) -> AlarmRaised | None:
        """Take a reading into its episode; return the alarm that begins with it, if one does and is wanted."""
        episode = self._episodes.setdefault(kind, Episode(self.patience.get(kind, 1)))
        action: AlarmAction = getattr(self._settings, kind)
        if not episode.observe(step, is_bad) or action == "off":
            return None
        first = since or episode.since
        message = f"{seen}, since step {first}. {self.meanings[kind]} Open metrics.jsonl."
        return AlarmRaised(step=step, kind=kind, message=message, action=action, since=first)
