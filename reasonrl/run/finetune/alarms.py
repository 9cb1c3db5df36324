"""Alarms over the metrics of SFT, DPO and KTO, as a function of those metrics alone."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Final, Literal, Self, TypeAlias

from reasonrl.config.finetune import FinetuneAlarmSettings
from reasonrl.config.kinds import kind_of
from reasonrl.config.settings import AlarmAction
from reasonrl.run.alarms import MAX_RECENT_NORMS, MIN_NORMS, Episode, apply_actions
from reasonrl.run.events import AlarmRaised, Event, RunStarted, StepFinished
from reasonrl.run.reward_beside_metric import suites_of

Kind: TypeAlias = Literal["not_finite", "gradient_spike"]
"""Named as the setting that says what the alarm does."""

MEANINGS: Final[Mapping[Kind, str]] = {
    "not_finite": "Usually the learning rate is too high, or a product overflows. Its update was left out.",
    "gradient_spike": "Usually one strange batch, or the first sign of divergence. Lower the learning rate or "
    "learner.max_grad_norm when it happens again.",
}
"""What each alarm usually means, and what to do."""


class FinetuneAlarms:
    """Observes the metrics of a run and raises alarms.

    Args:
        settings: thresholds and actions.
        notify: tells all observers of an alarm.
    """

    def __init__(self, settings: FinetuneAlarmSettings, notify: Callable[[AlarmRaised], None]) -> None:
        self._settings = settings
        self._notify = notify
        self._resume = ""
        self._episodes: dict[Kind, Episode] = {}
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
                apply_actions(self.after_step(event.step, event.record.metrics), self._notify, self._resume)

    def replay(self, records: Iterable[Mapping[str, Any]]) -> Self:
        """Take in the lines of a ``metrics.jsonl`` and raise nothing; return the alarms. Any: JSON values."""
        for record in records:
            metrics = {name: float(value) for name, value in record.items() if "/" in name}
            if not suites_of(metrics):
                dropped = {"a number": math.nan} if record.get("dropped_non_finite") else {}
                self.after_step(record["step"], metrics | dropped)
        return self

    def after_step(self, step: int, metrics: Mapping[str, float]) -> Sequence[AlarmRaised]:
        """Take in the metrics of a step; return the alarms that it sets off."""
        broken = sorted(name for name, value in metrics.items() if not math.isfinite(value))
        alarms = [self._alarm(step, "not_finite", bool(broken), f"{', '.join(broken)} not finite")]
        norm = next((value for name, value in metrics.items() if name.endswith("/grad_norm")), math.nan)
        if math.isfinite(norm):
            usual = median(self._norms) if len(self._norms) >= MIN_NORMS else 0.0
            self._norms.append(norm)
            spiked = 0 < usual * self._settings.spike_factor < norm
            seen = f"gradient norm {norm:.3g}, usual {usual:.3g}"
            alarms.append(self._alarm(step, "gradient_spike", spiked, seen))
        return [alarm for alarm in alarms if alarm]

    def _alarm(self, step: int, kind: Kind, is_bad: bool, seen: str) -> AlarmRaised | None:
        """Take a reading into its episode; return the alarm that begins with it, if one does and is wanted."""
        episode = self._episodes.setdefault(kind, Episode(1))
        action: AlarmAction = getattr(self._settings, kind)
        if not episode.observe(step, is_bad) or action == "off":
            return None
        message = f"{seen}, since step {episode.since}. {MEANINGS[kind]} Open metrics.jsonl."
        return AlarmRaised(step=step, kind=kind, message=message, action=action, since=episode.since)
